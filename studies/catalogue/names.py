"""Catalogue names of the rows of the reference tables, and what a row leaves to be said."""

ACCELERATORS = {
    "A100-SXM-40GB": ("a100_sxm_40gb", "nvlink3"),
    "A100-SXM-80GB": ("a100_sxm_80gb", "nvlink3"),
    "A100-PCIe-40GB": ("a100_pcie_40gb", "pcie4_x16"),
    "A100-PCIe-80GB": ("a100_pcie_80gb", "pcie4_x16"),
    "A30": ("a30", "pcie4_x16"),
    "A40": ("a40", "pcie4_x16"),
    "H100-SXM-80GB": ("h100_sxm", "nvlink4"),
    "H100-PCIe-80GB": ("h100_pcie", "pcie5_x16"),
    "H100-NVL-94GB": ("h100_nvl", "nvlink4_bridge"),
    "H20": ("h20", "nvlink4"),
    "H200": ("h200", "nvlink4"),
    "GH200": ("gh200", "nvlink4"),
    "B200": ("b200", "nvlink5"),
    "B300": ("b300", "nvlink5"),
    "GB200": ("gb200", "nvlink5_nvl72"),
    "GB300": ("gb300", "nvlink5_nvl72"),
    "L4": ("l4", "pcie4_x16"),
    "L40S": ("l40s", "pcie4_x16"),
    "A10": ("a10", "pcie4_x16"),
    "RTX-4090": ("rtx_4090", "pcie4_x16"),
    "RTX-PRO-6000-Server": ("rtx_pro_6000", "pcie5_x16"),
    "MI250": ("mi250", "infinity_fabric_mi250"),
    "MI300X": ("mi300x", "infinity_fabric_mi300x"),
    "MI325X": ("mi325x", "infinity_fabric_mi300x"),
    "MI350X": ("mi350x", "infinity_fabric_mi350x"),
    "MI355X": ("mi355x", "infinity_fabric_mi350x"),
    "TPU-v4": ("tpu_v4", "ici_tpu_v4"),
    "TPU-v5e": ("tpu_v5e", "ici_tpu_v5e"),
    "TPU-v5p": ("tpu_v5p", "ici_tpu_v5p"),
    "TPU-v6e": ("tpu_v6e", "ici_tpu_v6e"),
    "TPU-v7": ("tpu_v7", "ici_tpu_v7"),
    "Gaudi2": ("gaudi2", "roce_gaudi2"),
    "Gaudi3": ("gaudi3", "roce_gaudi3"),
    "Intel-B60": ("intel_b60", "pcie5_x8"),
    "Trainium2": ("trainium2", "neuronlink_v3"),
    "Inferentia2": ("inferentia2", "neuronlink_v2"),
    "Groq-LPU-v1": ("groq_lpu_v1", "c2c_groq_v1"),
    "Groq-3-LPX": ("groq_3_lpx", "c2c_groq_3"),
    "WSE-3": ("wse_3", "swarmx"),
    "RAGO-XPU-A": ("rago_xpu_a", "ici_tpu_v5e"),
    "RAGO-XPU-B": ("rago_xpu_b", "ici_tpu_v4"),
    "RAGO-XPU-C": ("rago_xpu_c", "ici_tpu_v5p"),
}
"""Row -> (name, scale-up link). Sohu is left out: no rate, bandwidth or power of it has been published."""

PCIE_HOST_DOMAIN = 8
"""Devices that reach each other over the PCIe of one host; the tables give 2 where a bridge may join a pair."""

ACCELERATOR_ALIASES = {
    "a100_sxm_80gb": ["a100_sxm", "A100-SXM4-80GB"],
    "h200": ["h200_sxm", "H200-SXM-141GB"],
    "b200": ["b200_sxm", "B200-180GB"],
    "b300": ["b300_sxm"],
    "gb200": ["GB200-192GB"],
    "gh200": ["GH200-480GB"],
    "intel_b60": ["b60"],
    "rtx_pro_6000": ["RTX-PRO-6000-BW-Server"],
}

IDLE_SOURCES = {
    "a100_sxm_80gb": "splitwise-sim power_model/constant.yaml",
    "h100_sxm": "splitwise-sim power_model/constant.yaml",
    "a10": "TokenSim hardware_models.json",
    "tpu_v4": "TokenSim",
    "rtx_pro_6000": "LLMServingSim single_node_power_instance.json",
}

RECALLED = {
    "fp32": "peaks.fp32",
    "tf32": "peaks.tf32",
    "bf16": "peaks.bf16",
    "fp8": "peaks.fp8",
    "int8": "peaks.int8",
    "fp4": "peaks.fp4",
    "hbm_visible_bytes": "visible_memory",
    "hbm_bw": "memory_bandwidth",
    "domain": "scale_up.domain",
    "nic": "nic",
    "tdp": "tdp",
    "pcie": "host_link",
    "cores": "cores",
    "base": "fp32",
    "flops": "fp32",
    "channels": "memory_bandwidth",
    "capacity": "memory",
}
"""Words of the column of recalled fields -> the key of the entry that they concern."""

LINKS = {
    "NVLink3 (A100)": "nvlink3",
    "NVLink4 (H100/H200)": "nvlink4",
    "NVLink5 (B200/B300)": "nvlink5",
    "NVLink5 NVL72 (GB200/GB300)": "nvlink5_nvl72",
    "NVLink4 bridge (H100 PCIe/NVL pair)": "nvlink4_bridge",
    "NVLink-C2C": "nvlink_c2c",
    "PCIe3 x16": "pcie3_x16",
    "PCIe4 x16": "pcie4_x16",
    "PCIe5 x16": "pcie5_x16",
    "PCIe6 x16": "pcie6_x16",
    "InfiniBand HDR 200G": "infiniband_hdr",
    "InfiniBand NDR 400G": "infiniband_ndr",
    "InfiniBand XDR 800G": "infiniband_xdr",
    "RoCE 100G": "roce_100g",
    "RoCE 200G": "roce_200g",
    "RoCE 400G": "roce_400g",
    "RoCE 800G": "roce_800g",
    "EFA 16x400G (p6-b300)": "efa_p6_b300",
    "EFA 8x400G (p6-b200)": "efa_p6_b200",
    "EFA 16x200G (p5en)": "efa_p5en",
    "EFA 32x100G (p5)": "efa_p5",
    "ICI TPU v4": "ici_tpu_v4",
    "ICI TPU v5e": "ici_tpu_v5e",
    "ICI TPU v5p": "ici_tpu_v5p",
    "ICI TPU v6e": "ici_tpu_v6e",
    "ICI TPU v7": "ici_tpu_v7",
    "Infinity Fabric MI250": "infinity_fabric_mi250",
    "Infinity Fabric MI300X/MI325X": "infinity_fabric_mi300x",
    "Infinity Fabric MI350X/MI355X": "infinity_fabric_mi350x",
    "UALink 1.0 x4 station": "ualink_x4",
    "RoCE Gaudi2 scale-up": "roce_gaudi2",
    "RoCE Gaudi3 scale-up": "roce_gaudi3",
    "NeuronLink-v3 (Trainium2)": "neuronlink_v3",
    "NeuronLink-v2 (Inferentia2)": "neuronlink_v2",
    "DCN TPU v5p": "dcn_tpu_v5p",
    "DCN TPU v6e/v7": "dcn_tpu_v6e",
    "DCN HERMES scenario": "dcn_hermes",
    "MIST H100_nvl8 intra": "mist_nvl8_intra",
    "MIST H100_nvl8 inter": "mist_nvl8_inter",
    "MIST H100_nvl8 rack": "mist_nvl8_rack",
}
"""Rows without a bandwidth or a latency per device are left out: NVLink6, the two Mooncake host aggregates, GenZ's default."""

OWN_LINKS = {
    "pcie5_x8": ("Intel-B60", "host", 2e-6, "peer latency of 2 us measured in aiconfigurator 0.12 systems/b60.yaml"),
    "c2c_groq_v1": ("Groq-LPU-v1", "scale-up", 1e-6, "estimate: 1 us per hop, as other chip-to-chip links"),
    "c2c_groq_3": ("Groq-3-LPX", "scale-up", 1e-6, "estimate: 1 us per hop, as other chip-to-chip links"),
    "swarmx": ("WSE-3", "scale-up", 6e-6, "estimate: that of RoCE, the fabric is Ethernet"),
}
"""Links named by one accelerator only: name -> (row of the accelerator, kind, latency in s, where the latency comes from)."""

HOST_ALIASES = {"xeon_8480_plus": ["xeon_8480"], "xeon_8592_plus": ["xeon_8592"]}

MODEL_ALIASES = {
    "llama-3.1-8b": ["llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct", "nvidia/Llama-3.1-8B-Instruct-FP8"],
    "llama-3.1-70b": ["llama-3.3-70b", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"],
    "qwen3-32b": ["nvidia/Qwen3-32B-NVFP4"],
    "qwen3-235b-a22b": ["Qwen/Qwen3-235B-A22B-FP8"],
    "mistral-7b-v0.1": ["mistral-7b"],
    "deepseek-r1": ["deepseek-r1-0528", "nvidia/DeepSeek-R1-NVFP4"],
    "deepseek-v3": ["nvidia/DeepSeek-V3.1-NVFP4"],
    "glm-5": ["zhipuai/GLM-5"],
}
"""Names that measurements use for a model of the same shape."""

FP8_RELEASE = "bf16 (fp8 release: 128x128 block scales)"
NATIVE_DTYPES = dict.fromkeys(
    ("qwen3-235b-a22b", "qwen3-30b-a3b", "qwen3-coder-480b-a35b", "qwen3.5-35b-a3b", "qwen3.5-122b-a10b", "qwen3.5-397b-a17b", "glm-5"),
    FP8_RELEASE,
)
"""Releases beside the native bf16 that the tables do not list: ``quantization_config.weight_block_size`` [128, 128] of the makers' FP8
checkpoints. An fp8 deployment of these computes with fp8 block kernels."""

PROVIDERS = {
    "AWS p5.48xlarge": "aws",
    "AWS": "aws",
    "Azure": "azure",
    "RunPod Secure": "runpod_secure",
    "RunPod Community": "runpod_community",
    "RunPod": "runpod",
    "CoreWeave (vidur": "vidur_constants",
    "CoreWeave": "coreweave",
    "Hyperstack": "hyperstack",
    "Nebius": "nebius",
    "Civo": "civo",
    "Verda": "verda",
    "Lambda 1x": "lambda_1x",
    "Lambda 8x": "lambda_8x",
    "Lambda": "lambda",
    "DigitalOcean": "digitalocean",
    "Together AI": "together",
    "Akash": "akash",
    "Crusoe": "crusoe",
    "TensorWave": "tensorwave",
    "Vultr": "vultr",
    "OpenRelay": "openrelay",
    "(range low)": "mi325x_range_low",
    "(range high)": "mi325x_range_high",
    "(December 2025 survey)": "survey",
    "GCP": "google_cloud",
    "Google Cloud": "google_cloud",
    "Intel Tiber": "intel_tiber",
    "MIST SC26 table A": "mist_table_a",
    "MIST SC26 table B": "mist_table_b",
    "vidur generate_pareto_curves": "vidur_new_gpu_costs",
    "vidur CPU_MACHINE_COST": "vidur_constants",
}
"""Beginning of a provider's text -> name of its books; the first match counts."""

WHOLE_NODES = ("aws_2026_11", "aws_2026_08", "lambda_8x")
"""Books whose prices are those of whole eight-device instances, divided by eight."""

TIER_SCOPES = {"s3_inference_sim_class": "connection"}
"""Tiers whose unit in the table is where their rate is taken, not where they stand: object storage is behind the network."""

PRICE_ITEMS = {"CPU-vCPU": "vcpu", "CPU-machine": "cpu_machine"}

LINKS_OF_TOPOLOGY = {"3D torus": 6, "2D torus": 4, "ring": 2, "mesh": 6}
"""Neighbours of a device; the mesh is MI250's, whose row says 6 external links."""
