"""What an engine build adds to the operators: host time, factors, memory, intake."""

from dataclasses import dataclass

from mist_dse.specs._check import at_most, fraction, not_negative, one_of, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """What an engine adds to the operators, in seconds and bytes.

    Host time of a step: ``host_step + host_sequence x sequences + host_prefill`` where a prefill runs;
    ``async_scheduling``: step = max(device, host), else the sum. What is left of a step beside its operators, on the device's
    critical path: ``residue + residue_sequence x sequences``, and ``moe_layer_time`` per layer with routed experts (routing,
    permutation, launches). ``linear_factor`` multiplies the
    linear layers of decode steps, ``prefill_factor`` the whole of steps that prefill (decode attention aside), ``moe_factor``
    routed experts, ``attention_factor`` decode attention (``mixing_factor`` once more in steps that also prefill);
    ``quantise_saving`` s is saved per narrow product by fused quantisation.

    ``front_end`` + ``front_end_token`` x input tokens: serial intake, one request at a time, beside ``front_end_output`` s per output
    token that it streams; ``client``: constant delay.
    KV memory = ``memory_fraction`` x visible memory - weights - ``reserve``, or ``memory_fraction`` x (visible memory - weights
    - ``reserve``) where ``fraction_of_free``; ``watermark``: share of blocks kept free at admission; ``reserve_full_isl``: admit
    only if the whole prompt fits; ``reserve_output``: only if prompt and output limit fit, so that nothing is ever preempted;
    ``whole_prompts``: a prompt is never split. ``graph_sizes``: sequence counts that pure decode steps are padded to.

    ``stream_interval``: output tokens per streamed message, so the user sees the first token with that one.
    ``receive_interval``: steps between two looks at new requests while any runs. ``wait_steps``, ``wait_fraction``: prompts wait
    until they fill that share of the token budget, at most so many steps. ``balance_steps``: with attention data
    parallelism, prompts wait at most so many steps until every rank has one.

    ``first_token_from``: the pool that the user's first token comes from in a disaggregated design. ``overlap``: share of
    communication hidden behind compute. ``family``, ``built``, ``accelerators``, ``models``: the engine, the ISO date of the first
    build, the accelerators and the kind of models (dense, moe, mla) that the profile stands for (none named: all).
    """

    name: str
    family: str = ""
    built: str = ""
    accelerators: tuple[str, ...] = ()
    models: str = ""
    host_step: float = 0.0
    host_sequence: float = 0.0
    host_prefill: float = 0.0
    async_scheduling: bool = False
    residue: float = 0.0
    residue_sequence: float = 0.0
    moe_layer_time: float = 0.0
    linear_factor: float = 1.0
    prefill_factor: float = 1.0
    moe_factor: float = 1.0
    attention_factor: float = 1.0
    mixing_factor: float = 1.0
    quantise_saving: float = 0.0
    overlap: float = 0.0
    front_end: float = 0.0
    front_end_token: float = 0.0
    front_end_output: float = 0.0
    client: float = 0.0
    block_size: int = 16
    memory_fraction: float = 0.9
    fraction_of_free: bool = False
    reserve: float = 4e9
    watermark: float = 0.0
    reserve_full_isl: bool = True
    reserve_output: bool = False
    whole_prompts: bool = False
    stream_interval: int = 1
    receive_interval: int = 1
    wait_steps: int = 0
    wait_fraction: float = 0.0
    balance_steps: int = 0
    graph_sizes: tuple[int, ...] = ()
    max_model_len: int | None = None
    first_token_from: str = "prefill"
    source: str = ""

    def __post_init__(self) -> None:
        not_negative(self, host_step=self.host_step, host_sequence=self.host_sequence, host_prefill=self.host_prefill,
                     residue=self.residue, residue_sequence=self.residue_sequence, moe_layer_time=self.moe_layer_time,
                     quantise_saving=self.quantise_saving, front_end=self.front_end, front_end_token=self.front_end_token,
                     front_end_output=self.front_end_output, client=self.client, reserve=self.reserve, wait_steps=self.wait_steps,
                     balance_steps=self.balance_steps)  # fmt: skip
        positive(self, linear_factor=self.linear_factor, prefill_factor=self.prefill_factor, moe_factor=self.moe_factor,
                 attention_factor=self.attention_factor, mixing_factor=self.mixing_factor, block_size=self.block_size,
                 stream_interval=self.stream_interval, receive_interval=self.receive_interval,
                 max_model_len=self.max_model_len)  # fmt: skip
        fraction(
            self, memory_fraction=self.memory_fraction, watermark=self.watermark, overlap=self.overlap, wait_fraction=self.wait_fraction
        )
        positive(self, memory_fraction=self.memory_fraction)
        at_most(self, 1e6, linear_factor=self.linear_factor, prefill_factor=self.prefill_factor, moe_factor=self.moe_factor,
                attention_factor=self.attention_factor, mixing_factor=self.mixing_factor)  # fmt: skip
        at_most(self, 1e6, host_step=self.host_step, host_sequence=self.host_sequence, host_prefill=self.host_prefill,
                residue=self.residue, residue_sequence=self.residue_sequence, moe_layer_time=self.moe_layer_time,
                front_end=self.front_end, front_end_token=self.front_end_token, client=self.client)  # fmt: skip
        one_of(self, ("prefill", "decode"), first_token_from=self.first_token_from)
