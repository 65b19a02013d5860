"""Triton's kernels compile for a GPU that is not here: its interpreter lets pass what they refuse.

They are launched as ever, with the options and on the device that go with that. What the compiler
makes of them is not run.
"""

from pathlib import Path

from tests.model.in_a_process import printed

COMPILE = """
import re
import warnings
from contextlib import contextmanager

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from model.layers import triton_fp8, triton_kernels, triton_paged
from model.layers.fp8 import FP8
from model.layers.pages import OwnWords, PagedSegments, Slabs

warnings.simplefilter("error")

class Hopper:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

driver.set_active(Hopper())
triton_paged._shared_bytes = lambda _device: 227 * 1024
run, devices = JITFunction.run, []

@contextmanager
def device_of(tensor):
    devices.append(tensor.device)
    yield
    devices.pop()

def compiled(kernel, *given, grid, warmup, **options):
    assert all(one.device == devices[-1] for one in given if isinstance(one, torch.Tensor))
    found = run(kernel, *given, grid=grid, warmup=True, **options)
    ptx = found.asm["ptx"]
    divisions = sorted(set(re.findall(r"div\\.[a-z.]*f32", ptx)))
    print(found.name, found.hash, found.metadata.shared, int("mma" in ptx), *divisions)

torch.cuda.device_of, JITFunction.run = device_of, compiled
bf16 = torch.bfloat16

def some(*shape, dtype=bf16):
    return torch.empty(shape, dtype=dtype)

def attended(heads, kv_heads, *, is_fp8):
    kept = FP8 if is_fp8 else bf16
    pages = some(512, kv_heads, 128, dtype=kept), some(512, kv_heads, 128, dtype=kept)
    scales = [some(512, kv_heads, 1, dtype=torch.float32)] * 2 if is_fp8 else []
    slabs = Slabs(*pages, *scales)
    segments = PagedSegments.of(
        (3, 1), (300, 7), ((0, 1), (1,)), page_tokens=256, device=torch.device("cpu")
    )
    fused = some(4, heads + 2 * kv_heads, 128)
    q, k, v = fused.tensor_split((heads, heads + kv_heads), dim=1)
    triton_paged.attend(q, slabs, segments=segments)
    words = some(2, kv_heads, 64, 128), some(2, kv_heads, 64, 128)
    own = OwnWords(*words, torch.zeros(2, dtype=torch.int64))
    triton_paged.step(q[:2], (k[:2], v[:2]), slabs, segments=segments, own=own)

attended(12, 2, is_fp8=False)
attended(28, 4, is_fp8=True)
rotation = (some(4, 64, dtype=torch.float32), some(4, 128, dtype=torch.float32))
triton_kernels.rotate_(some(4, 14, 128), rotation)
triton_kernels.rotate_(some(4, 32, 128), rotation)
triton_kernels.silu_times(some(4, 2048))
triton_fp8.quantised(some(4, 1536))
"""

SHARED_BYTES = 227 * 1024  # of a Hopper GPU's cores
ATTENTION = ["_attend", "_attend", "_finish_step"]
LAUNCHED = [*ATTENTION, *ATTENTION, "_rotate", "_rotate", "_silu_times", "_quantise"]


def test_kernels_compile_for_a_gpu_and_multiply_on_its_tensor_cores(tmp_path: Path) -> None:
    lines = [line.split() for line in printed(COMPILE, TRITON_CACHE_DIR=str(tmp_path)).splitlines()]
    assert [name for name, *_ in lines] == LAUNCHED
    assert len({found for name, found, *_ in lines if name == "_rotate"}) == 1  # for any heads
    for name, _, shared_bytes, has_products, *divisions in lines:
        assert int(shared_bytes) <= SHARED_BYTES
        assert int(has_products) == (name in ATTENTION)
        if name == "_quantise":  # exactly, as PyTorch's does
            assert divisions == ["div.rn.f32"]
