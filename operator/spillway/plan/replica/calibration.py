"""What was measured of models on accelerators: step times and KV capacity of vLLM, and the data sheets they were measured against.

Source: a sweep of NVIDIA AIConfigurator 0.12.0 (Apache-2.0), whose database holds operator times measured on silicon with vLLM 0.14 (A100)
and 0.24 (the others), read 2026-11. It sums operators, so it leaves out scheduling and HTTP: replica/serving.py adds them.
"""

from dataclasses import dataclass

FULL_BATCH = 64  # sequences of the second measured point
FULL_BATCH_CONTEXT_TOKENS = 2048  # and the context of each of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What decides the speed of an accelerator, as data sheets state it."""

    bandwidth_gbps: float  # of its memory
    bf16_tflops: float  # dense
    fp8_tflops: float  # dense; bf16's where it has no fp8
    link_gbps: float  # to its neighbours in the node, both directions together


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRow:
    """One model on one accelerator at one tensor parallel size.

    A step with B sequences holding KV tokens takes a + b B + c KV/1000 ms; a prompt of N tokens adds delta N + quad N^2/10^6.
    """

    model: str
    accelerator: str
    tensor_parallel_size: int
    a_ms: float
    b_ms_per_sequence: float
    c_ms_per_thousand_kv_tokens: float
    delta_us_per_prompt_token: float
    quad_ms_per_million_squared_tokens: float
    one_sequence_ms: float  # the raw points under the fit: a step with one sequence,
    full_batch_ms: float  # with 64 of 2048 tokens,
    prompt_1000_ms: float  # and a prompt of 1000 tokens
    kv_tokens: int


HARDWARE = {
    "l40s": Hardware(bandwidth_gbps=864, bf16_tflops=362, fp8_tflops=733, link_gbps=64),
    "a100_sxm": Hardware(bandwidth_gbps=2039, bf16_tflops=312, fp8_tflops=312, link_gbps=600),
    "h100_sxm": Hardware(bandwidth_gbps=3350, bf16_tflops=989, fp8_tflops=1979, link_gbps=900),
    "h200_sxm": Hardware(bandwidth_gbps=4800, bf16_tflops=989, fp8_tflops=1979, link_gbps=900),
    "b200_sxm": Hardware(bandwidth_gbps=8000, bf16_tflops=2250, fp8_tflops=4500, link_gbps=1800),
    "rtx_pro_6000_server": Hardware(bandwidth_gbps=1597, bf16_tflops=500, fp8_tflops=1000, link_gbps=128),
}


def usable(row: CalibrationRow) -> bool:
    """Whether the row may be relied on: the table's authors say not to use L40S over PCIe from four accelerators on."""
    return not (row.accelerator == "l40s" and row.tensor_parallel_size >= 4)  # noqa: PLR2004 - the authors' bound, said above


def _row(model: str, accelerator: str, tensor_parallel_size: int, *figures: float) -> CalibrationRow:
    a, b, c, delta, quad, one, full, prompt, tokens = figures
    return CalibrationRow(
        model=model,
        accelerator=accelerator,
        tensor_parallel_size=tensor_parallel_size,
        a_ms=a,
        b_ms_per_sequence=b,
        c_ms_per_thousand_kv_tokens=c,
        delta_us_per_prompt_token=delta,
        quad_ms_per_million_squared_tokens=quad,
        one_sequence_ms=one,
        full_batch_ms=full,
        prompt_1000_ms=prompt,
        kv_tokens=int(tokens),
    )


# fmt: off
# ruff: noqa: E501 - a table is read by its columns
ROWS: tuple[CalibrationRow, ...] = (
    _row("meta-llama/Meta-Llama-3.1-8B", "l40s", 1, 22.1525, 0.0432, 0.1821, 44.727, 5.2478, 22.0353, 51.2804, 70.3328, 201606),
    _row("meta-llama/Meta-Llama-3.1-8B", "l40s", 2, 11.8619, 0.0466, 0.0911, 51.3819, 2.699, 12.1004, 28.1583, 66.8211, 520796),
    _row("meta-llama/Meta-Llama-3.1-8B", "a100_sxm", 1, 11.5301, 0.0318, 0.0798, 54.5337, 1.5499, 12.0084, 23.0664, 64.7259, 437536),
    _row("meta-llama/Meta-Llama-3.1-8B", "a100_sxm", 2, 6.7567, 0.0179, 0.0449, 33.5738, 0.6478, 6.8459, 14.1801, 41.4943, 992656),
    _row("meta-llama/Meta-Llama-3.1-8B", "h100_sxm", 1, 6.3697, 0.0115, 0.0412, 15.0441, 1.1624, 6.2359, 12.5599, 22.1093, 437536),
    _row("meta-llama/Meta-Llama-3.1-8B", "h100_sxm", 2, 4.0396, 0.0076, 0.0206, 10.4457, 0.5463, 4.041, 7.3155, 15.1037, 992656),
    _row("meta-llama/Meta-Llama-3.1-8B", "h200_sxm", 1, 4.9117, 0.0122, 0.0292, 16.2364, 1.0356, 4.9074, 9.4739, 21.1795, 887276),
    _row("meta-llama/Meta-Llama-3.1-8B", "h200_sxm", 2, 3.3491, 0.0079, 0.0145, 10.8237, 0.4261, 3.3693, 5.7071, 14.5306, 1892137),
    _row("meta-llama/Meta-Llama-3.1-8B", "b200_sxm", 1, 3.4416, 0.0043, 0.0179, 7.9507, 0.482, 3.4867, 6.0676, 11.6459, 1174816),
    _row("meta-llama/Meta-Llama-3.1-8B", "b200_sxm", 2, 2.6689, 0.0057, 0.0091, 6.6494, 0.0504, 2.8415, 4.1479, 10.3158, 2467216),
    _row("meta-llama/Meta-Llama-3.1-8B", "rtx_pro_6000_server", 1, 10.7669, 0.0171, 0.0863, 34.3601, 1.3819, 11.297, 23.2769, 44.8932, 555500),
    _row("meta-llama/Meta-Llama-3.1-8B", "rtx_pro_6000_server", 2, 6.1322, 0.02, 0.0438, 34.5548, 0.4982, 6.3688, 13.5172, 41.3604, 1228585),
    _row("Qwen/Qwen3-8B", "l40s", 1, 22.3986, 0.0471, 0.2058, 43.6714, 5.7787, 21.7355, 55.1142, 72.453, 176971),
    _row("Qwen/Qwen3-8B", "a100_sxm", 1, 11.6387, 0.0326, 0.0898, 54.3861, 1.7036, 12.1752, 24.6608, 66.2242, 386686),
    _row("Qwen/Qwen3-8B", "h100_sxm", 1, 6.5167, 0.0126, 0.0464, 14.8688, 1.2272, 6.4235, 13.4382, 22.7013, 386686),
    _row("Qwen/Qwen3-32B", "l40s", 4, 26.7216, 0.5301, 0.0887, 594.7586, 4.3535, 26.9618, 72.4327, 629.6346, 392574),
    _row("Qwen/Qwen3-32B", "a100_sxm", 2, 25.1032, 0.0729, 0.0912, 124.7792, 3.1301, 25.6575, 40.1592, 151.4701, 307378),
    _row("Qwen/Qwen3-32B", "a100_sxm", 4, 14.4212, 0.0434, 0.0476, 77.0076, 0.863, 14.3938, 22.3958, 97.3133, 864434),
    _row("Qwen/Qwen3-32B", "h100_sxm", 1, 24.9791, 0.0324, 0.0834, 65.8981, 5.0969, 24.4168, 38.6398, 93.6619, 29818),
    _row("Qwen/Qwen3-32B", "h100_sxm", 2, 13.6341, 0.026, 0.0424, 38.4451, 2.4715, 13.4535, 21.5683, 55.4868, 307378),
    _row("Qwen/Qwen3-32B", "h200_sxm", 1, 18.9482, 0.0345, 0.0586, 72.1388, 4.2995, 18.3733, 29.1169, 93.1905, 254688),
    _row("Qwen/Qwen3-32B", "h200_sxm", 2, 10.6909, 0.0253, 0.0296, 40.3366, 2.1811, 10.6812, 16.0818, 53.6778, 757118),
    _row("Qwen/Qwen3-32B-FP8", "l40s", 2, 98.3019, 0.0667, 0.0947, 151.4639, 9.0452, 98.1372, 113.737, 255.7792, 381504),
    _row("Qwen/Qwen3-32B-FP8", "h100_sxm", 1, 22.7138, 0.0623, 0.0481, 42.5019, 3.3449, 22.3535, 36.3806, 71.1387, 298244),
    _row("Qwen/Qwen3-32B-FP8", "h100_sxm", 2, 20.1435, 0.0655, 0.0258, 21.469, 2.4864, 19.7422, 32.72, 51.2415, 853364),
    _row("Qwen/Qwen3-32B-FP8", "h200_sxm", 1, 20.553, 0.0591, 0.0435, 44.3923, 2.8718, 20.5842, 33.1709, 69.1322, 747984),
    _row("meta-llama/Meta-Llama-3.1-70B", "a100_sxm", 4, 27.4234, 0.0965, 0.0599, 159.9407, 0.3485, 27.3153, 40.0225, 182.3361, 460784),
    _row("meta-llama/Meta-Llama-3.1-70B", "a100_sxm", 8, 17.2409, 0.0689, 0.027, 104.792, 0.0, 17.3374, 23.9553, 126.2421, 1352713),
    _row("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", 4, 15.0038, 0.0336, 0.0262, 50.1655, 2.4162, 14.9727, 20.7409, 67.3778, 460784),
    _row("meta-llama/Meta-Llama-3.1-70B", "h100_sxm", 8, 10.2044, 0.0221, 0.0135, 35.5549, 0.7107, 10.1873, 13.733, 46.2418, 1352713),
    _row("meta-llama/Meta-Llama-3.1-70B", "h200_sxm", 2, 20.7119, 0.0376, 0.0367, 91.1272, 3.256, 21.3412, 27.4898, 109.2358, 374931),
    _row("meta-llama/Meta-Llama-3.1-70B", "h200_sxm", 4, 12.0474, 0.0332, 0.0183, 53.739, 1.5686, 12.3707, 16.355, 65.7208, 1180369),
    _row("meta-llama/Meta-Llama-3.1-70B", "l40s", 8, 28.2527, 2.0382, 0.0608, 2482.1912, 0.0, 30.2084, 129.1343, 2647.0753, 597738),
    _row("nvidia/Llama-3.1-70B-Instruct-FP8", "h100_sxm", 2, 16.3556, 0.038, 0.0294, 68.7815, 0.8067, 16.5607, 22.3072, 82.2109, 448598),
    _row("nvidia/Llama-3.1-70B-Instruct-FP8", "h100_sxm", 4, 10.237, 0.0365, 0.0146, 45.6303, 0.3316, 10.6483, 14.4239, 56.127, 1339888),
    _row("nvidia/Llama-3.1-70B-Instruct-FP8", "h200_sxm", 1, 20.6277, 0.0567, 0.0528, 89.871, 3.8713, 21.2485, 30.7745, 110.8952, 364295),
    _row("nvidia/Llama-3.1-70B-Instruct-FP8", "h200_sxm", 2, 12.9005, 0.0411, 0.0264, 60.8669, 1.3698, 13.2974, 18.5532, 72.9337, 1168183),
    _row("Qwen/Qwen3-30B-A3B", "a100_sxm", 1, 8.0463, 0.2381, 0.0778, 40.0011, 1.7885, 6.6068, 46.0315, 82.8615, 132085),
    _row("Qwen/Qwen3-30B-A3B", "h100_sxm", 1, 5.7558, 0.1085, 0.037, 9.1728, 0.8254, 4.7093, 26.2224, 33.9011, 132085),
    _row("Qwen/Qwen3-30B-A3B", "h200_sxm", 1, 4.97, 0.0832, 0.0257, 9.7273, 0.6206, 4.0589, 19.1194, 28.3273, 731739),
    _row("openai/gpt-oss-120b", "h100_sxm", 1, 5.4163, 0.1367, 0.014, 22.6573, 0.0, 4.5147, 23.4361, 55.0746, 176690),
    _row("openai/gpt-oss-120b", "h100_sxm", 2, 4.4147, 0.0735, 0.0068, 14.4635, 0.0, 3.7163, 14.0031, 33.8828, 1163210),
    _row("openai/gpt-oss-120b", "h200_sxm", 1, 4.9146, 0.1357, 0.0104, 22.8526, 0.0, 4.1058, 21.9559, 54.9427, 976229),
    _row("openai/gpt-oss-20b", "h100_sxm", 1, 3.4667, 0.0421, 0.0087, 10.6984, 0.1889, 3.0616, 8.5705, 19.3281, 1250609),
    _row("openai/gpt-oss-20b", "l40s", 1, 6.691, 0.1285, 0.0405, 26.7292, 1.6614, 5.3755, 27.3769, 44.7981, 621463),
)
# fmt: on
