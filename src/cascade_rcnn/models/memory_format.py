"""The layout of weights, and with them of feature maps, in which a machine trains fastest.

A convolution takes the layout of its weights. Channels last (NHWC) is the fastest in inference everywhere, and in
training on GPUs and on CPUs with AVX-512; without AVX-512 its backward pass is several times slower than NCHW's.
"""

import torch


def training_memory_format() -> torch.memory_format:
    """Channels last, except on a CPU without AVX-512 (as torch sees it: ATEN_CPU_CAPABILITY counts)."""
    slow = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2") and not torch.cuda.is_available()
    return torch.contiguous_format if slow else torch.channels_last
