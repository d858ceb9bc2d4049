"""A model's shape and the parameter counts that follow from it.

Counts are sums over the tensors of a checkpoint: embeddings, one attention block and one feed-forward block per layer,
norms, output head. They leave out multi-token-prediction layers and vision towers. Sources of the shapes are the model
cards; the tests hold the counts against the published totals.
"""

from dataclasses import dataclass, fields

from mist_dse.specs._check import SpecError, not_negative, one_of, positive

QK_NORMS = ("", "head", "layer")
"""Normalisation of queries and keys: none, one weight per head dimension, one weight per projected value."""

NORMS = ("rmsnorm", "layernorm")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One transformer (or hybrid) model; every size is a number of elements, 0 = absent.

    ``v_head_dim`` 0 becomes ``head_dim`` and ``full_attention_layers`` 0 becomes ``layers``. ``mlp_matrices``: 3 = gated,
    2 = plain. ``kv_lora`` > 0: multi-head latent attention. ``experts`` > 0: mixture of experts after
    ``first_dense_layers``. ``lin_key_heads`` > 0: layers that are not full attention are gated delta-net. ``sliding_window`` > 0:
    they attend to that many tokens. ``index_heads`` > 0: sparse attention over the ``index_topk`` best tokens.
    ``learned_pos``: rows of a position table. ``extra_params``: tensors outside this scheme (pooler, classifier).
    ``native_dtype``: how the checkpoint is stored, as published.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    hf_id: str = ""
    arch_kind: str = "dense"
    attention_kind: str = "gqa"
    v_head_dim: int = 0
    ffn: int = 0
    mlp_matrices: int = 3
    experts: int = 0
    top_k: int = 0
    shared_experts: int = 0
    expert_ffn: int = 0
    shared_expert_ffn: int = 0
    first_dense_layers: int = 0
    q_lora: int = 0
    kv_lora: int = 0
    qk_nope: int = 0
    qk_rope: int = 0
    index_heads: int = 0
    index_dim: int = 0
    index_topk: int = 0
    sliding_window: int = 0
    sliding_pattern: str = ""
    full_attention_layers: int = 0
    lin_key_heads: int = 0
    lin_value_heads: int = 0
    lin_key_dim: int = 0
    lin_value_dim: int = 0
    lin_conv: int = 0
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: str = ""
    attn_gate: bool = False
    attn_sinks: bool = False
    router_bias: bool = False
    shared_gate: bool = False
    learned_pos: int = 0
    token_types: int = 0
    embed_norm: bool = False
    final_norm: bool = True
    norm: str = "rmsnorm"
    norms_per_layer: int = 2
    extra_params: int = 0
    tied: bool = False
    no_lm_head: bool = False
    mtp_layers: int = 0
    max_context: int = 0
    native_dtype: str = "bf16"
    published_total: int = 0
    published_total_kind: str = ""
    published_active: int = 0
    source: str = ""
    verified: str = ""
    confidence: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "v_head_dim", self.v_head_dim or self.head_dim)
        object.__setattr__(self, "full_attention_layers", self.full_attention_layers or self.layers)
        positive(self, layers=self.layers, hidden=self.hidden, heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim,
                 v_head_dim=self.v_head_dim, vocab=self.vocab, mlp_matrices=self.mlp_matrices)  # fmt: skip
        not_negative(self, **{field.name: getattr(self, field.name) for field in fields(self) if field.type is int})
        one_of(self, QK_NORMS, qk_norm=self.qk_norm)
        one_of(self, NORMS, norm=self.norm)
        self._check_attention()
        self._check_feed_forward()

    def _check_attention(self) -> None:
        if self.heads % self.kv_heads:
            raise SpecError(f"ModelSpec.kv_heads of {self.name} is {self.kv_heads}: must divide heads = {self.heads}")
        if self.full_attention_layers > self.layers:
            raise SpecError(
                f"ModelSpec.full_attention_layers of {self.name} is {self.full_attention_layers}: must be <= layers = {self.layers}"
            )
        if self.full_attention_layers < self.layers and not (self.sliding_window or self.lin_key_heads):
            raise SpecError(f"ModelSpec.full_attention_layers of {self.name} is {self.full_attention_layers} of {self.layers} layers: "
                            "the others need sliding_window or lin_key_heads")  # fmt: skip
        if self.kv_lora and not (self.qk_nope and self.qk_rope):
            raise SpecError(f"ModelSpec.kv_lora of {self.name} is {self.kv_lora}: latent attention needs qk_nope and qk_rope too")
        if self.lin_key_heads and self.lin_value_heads % self.lin_key_heads:
            problem = f"ModelSpec.lin_value_heads of {self.name} is {self.lin_value_heads}"
            raise SpecError(f"{problem}: must be a multiple of lin_key_heads = {self.lin_key_heads}")

    def _check_feed_forward(self) -> None:
        if self.experts and not (0 < self.top_k <= self.experts and self.expert_ffn):
            raise SpecError(
                f"ModelSpec.top_k of {self.name} is {self.top_k}: {self.experts} experts need 1 <= top_k <= experts, and expert_ffn"
            )
        if self.first_dense_layers > self.layers:
            raise SpecError(f"ModelSpec.first_dense_layers of {self.name} is {self.first_dense_layers}: must be <= layers = {self.layers}")
        if self.dense_layers and not self.ffn:
            raise SpecError(f"ModelSpec.ffn of {self.name} is missing: {self.dense_layers} layers are dense")

    @property
    def is_latent(self) -> bool:
        """Whether attention is multi-head latent attention (one compressed KV for all heads)."""
        return self.kv_lora > 0

    @property
    def is_encoder(self) -> bool:
        """Whether the model reads all tokens at once and keeps no KV cache."""
        return self.arch_kind.startswith("encoder")

    @property
    def dense_layers(self) -> int:
        """Layers with a dense feed-forward block."""
        return self.first_dense_layers if self.experts else self.layers

    @property
    def moe_layers(self) -> int:
        """Layers with a mixture of experts."""
        return self.layers - self.dense_layers

    @property
    def linear_layers(self) -> int:
        """Layers of linear attention: a fixed state per sequence, no KV cache."""
        return self.layers - self.full_attention_layers if self.lin_key_heads else 0

    @property
    def window_layers(self) -> int:
        """Layers that attend to the last ``sliding_window`` tokens only."""
        if not self.sliding_window:
            return 0
        return self.layers if self.sliding_pattern.startswith("all") else self.layers - self.full_attention_layers

    @property
    def global_layers(self) -> int:
        """Layers that attend to the whole context."""
        return self.layers - self.window_layers - self.linear_layers

    @property
    def kv_values_per_token(self) -> int:
        """KV cache elements of one token in one attention layer (0 for encoders)."""
        if self.is_encoder:
            return 0
        return self.kv_lora + self.qk_rope if self.is_latent else self.kv_heads * (self.head_dim + self.v_head_dim)

    @property
    def kv_bytes_per_token_16bit(self) -> int:
        """KV cache bytes of one token over all attention layers at 16 bit; windows make the mean over a long context smaller."""
        return 2 * (self.global_layers + self.window_layers) * self.kv_values_per_token

    @property
    def attention_parameters(self) -> int:
        """One attention layer (full or windowed): projections, biases, norms of queries and keys, sinks, sparse indexer."""
        core = self._latent_projections if self.is_latent else self._grouped_projections
        return core + self._indexer + self.o_bias * self.hidden + self.attn_sinks * self.heads

    @property
    def _grouped_projections(self) -> int:
        queries, keys, values = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.v_head_dim
        weights = self.hidden * (queries * (1 + self.attn_gate) + keys + values + self.heads * self.v_head_dim)
        norms = {"": 0, "head": 2 * self.head_dim, "layer": queries + keys}[self.qk_norm]
        return weights + self.qkv_bias * (queries + keys + values) + norms

    @property
    def _latent_projections(self) -> int:
        queries = self.heads * (self.qk_nope + self.qk_rope)
        query = self.q_lora * (self.hidden + 1 + queries) if self.q_lora else self.hidden * queries
        down = self.hidden * (self.kv_lora + self.qk_rope) + self.kv_lora
        up = self.kv_lora * self.heads * (self.qk_nope + self.v_head_dim)
        return query + down + up + self.heads * self.v_head_dim * self.hidden

    @property
    def _indexer(self) -> int:
        if not self.index_heads:
            return 0
        return self.q_lora * self.index_heads * self.index_dim + self.hidden * (self.index_dim + self.index_heads) + 2 * self.index_dim

    @property
    def linear_attention_parameters(self) -> int:
        """One gated delta-net layer: input projections, gates, short convolution, decay, norm, output."""
        if not self.lin_key_heads:
            return 0
        keys, values = self.lin_key_heads * self.lin_key_dim, self.lin_value_heads * self.lin_value_dim
        inputs = self.hidden * (2 * keys + 2 * values + 2 * self.lin_value_heads)
        return inputs + (2 * keys + values) * self.lin_conv + 2 * self.lin_value_heads + self.lin_value_dim + values * self.hidden

    @property
    def linear_state_values(self) -> int:
        """Recurrent and convolution state elements of one sequence in one linear-attention layer."""
        if not self.lin_key_heads:
            return 0
        keys, values = self.lin_key_heads * self.lin_key_dim, self.lin_value_heads * self.lin_value_dim
        return self.lin_value_heads * self.lin_key_dim * self.lin_value_dim + (2 * keys + values) * max(self.lin_conv - 1, 0)

    def _feed_forward(self, width: int) -> int:
        biases = self.mlp_bias * ((self.mlp_matrices - 1) * width + self.hidden)
        return self.mlp_matrices * self.hidden * width + biases

    @property
    def mlp_parameters(self) -> int:
        """One dense feed-forward block (0 where no layer is dense)."""
        return self._feed_forward(self.ffn) if self.dense_layers else 0

    @property
    def expert_parameters(self) -> int:
        """One routed expert."""
        return self._feed_forward(self.expert_ffn) if self.experts else 0

    @property
    def shared_expert_parameters(self) -> int:
        """All shared experts of one layer, with their gate."""
        return self.shared_experts * self._feed_forward(self.shared_expert_ffn) + self.shared_gate * self.hidden

    @property
    def router_parameters(self) -> int:
        """The router of one mixture-of-experts layer."""
        return self.experts * (self.hidden + self.router_bias)

    @property
    def norm_parameters(self) -> int:
        """The norms of one layer."""
        return self.norms_per_layer * self._norm

    @property
    def _norm(self) -> int:
        return self.hidden * (2 if self.norm == "layernorm" else 1)

    @property
    def embedding_parameters(self) -> int:
        """Token, position and type embeddings with their norm."""
        return (self.vocab + self.learned_pos + self.token_types) * self.hidden + self.embed_norm * self._norm

    @property
    def head_parameters(self) -> int:
        """The output head's own tensor: 0 where it is tied to the embedding or absent (see `head_matrix`)."""
        return 0 if self.tied or self.no_lm_head else self.vocab * self.hidden

    @property
    def head_matrix(self) -> int:
        """Elements of the matrix that makes logits, tied or not (0 for models without an output head)."""
        return 0 if self.no_lm_head else self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self._shared_by_all_tokens + self.moe_layers * self.experts * self.expert_parameters

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses: ``top_k`` experts per layer; embedding and output head are counted."""
        return self._shared_by_all_tokens + self.moe_layers * self.top_k * self.expert_parameters

    @property
    def _shared_by_all_tokens(self) -> int:
        mixture = self.moe_layers * (self.shared_expert_parameters + self.router_parameters)
        attention = (self.layers - self.linear_layers) * self.attention_parameters + self.linear_layers * self.linear_attention_parameters
        blocks = self.layers * self.norm_parameters + self.dense_layers * self.mlp_parameters + mixture + attention
        return blocks + self.embedding_parameters + self.head_parameters + self.final_norm * self._norm + self.extra_params
