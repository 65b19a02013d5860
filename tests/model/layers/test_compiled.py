"""Triton's kernels compile for a GPU that is not here: its interpreter lets pass what they refuse.

What the compiler makes of them is not run.
"""

from pathlib import Path

from tests.model.in_a_process import printed

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from model.layers import triton_fp8, triton_paged

HOPPER = GPUTarget("cuda", 90, 32)
NUMBERS = ("row_stride", "table_stride", "new_stride", "own_tokens", "num_rows", "width")
ALIGNED = ("row_stride", "new_stride")

def compiled(kernel, warps, constants, **types):
    names = kernel.arg_names
    types |= {name: "i32" for name in names if name in NUMBERS} | {"scale": "fp32"}
    source = ASTSource(
        kernel,
        {name: types.get(name, "constexpr") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
        {
            (n,): [["tt.divisibility", 16]]
            for n, name in enumerate(names)
            if name in ALIGNED or types.get(name, "").startswith("*")
        },
    )
    found = triton.compile(source, target=HOPPER, options={"num_warps": warps, "num_stages": 3})
    print(found.name, found.metadata.shared, int("mma" in found.asm["ptx"]))

heads = {"GROUP": 6, "KV_HEADS": 2, "HEAD_DIM": 128, "PADDED_DIM": 128, "KEYS": 64}
for rows, parts, warps, out, kept in ((128, 1, 8, "*bf16", "bf16"), (16, 8, 4, "*fp32", "fp8e4nv")):
    is_fp8 = kept != "bf16"
    scales = "*fp32" if is_fp8 else "*bf16"
    compiled(
        triton_paged._attend,
        warps,
        heads | {"PAGE": 256, "ROWS": rows, "PARTS": parts, "HAS_SCALES": is_fp8},
        q="*bf16", keys="*" + kept, values="*" + kept, key_scales=scales, value_scales=scales,
        query_starts="*i32", key_lengths="*i32", table="*i32", longest_first="*i32",
        out=out, lse="*fp32",
    )
compiled(
    triton_paged._finish_step,
    4,
    heads | {"ROWS": 16, "PARTS": 8},
    q="*bf16", new_keys="*bf16", new_values="*bf16", own_keys="*bf16", own_values="*bf16",
    own_lengths="*i64", parts="*fp32", lses="*fp32", out="*bf16",
)
compiled(triton_fp8._quantise, 8, {"COLUMNS": 2048}, x="*bf16", out="*fp8e4nv", scales="*fp32")
"""

SHARED_BYTES = 227 * 1024  # of a Hopper GPU's cores
MULTIPLYING = {"_attend": 1, "_finish_step": 1, "_quantise": 0}


def test_kernels_compile_for_a_gpu_and_multiply_on_its_tensor_cores(tmp_path: Path) -> None:
    lines = [line.split() for line in printed(COMPILE, TRITON_CACHE_DIR=str(tmp_path)).splitlines()]
    assert [name for name, _, _ in lines] == ["_attend", "_attend", "_finish_step", "_quantise"]
    for name, shared_bytes, has_products in lines:
        assert int(shared_bytes) <= SHARED_BYTES
        assert int(has_products) == MULTIPLYING[name]
