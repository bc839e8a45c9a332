"""What this machine has: processors, memory, GPUs."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from reflectune.doctor.finding import Finding
from reflectune.doctor.packages import version_of

__all__ = ["gpu", "memory", "processors"]

_GIB = 1 << 30
_NODES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a driver for CUDA or ROCm shows; /dev/dxg is Windows' own, seen from its Linux."""
_SMI = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_PATIENCE = 10.0


def processors() -> Finding:
    """How many processors this process may use."""
    there = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return Finding(name="processors", state="good", told=f"{there}" if mine == there else f"{mine} of {there}")


def memory() -> Finding:
    """How much memory there is, and how much of it is free."""
    values = _meminfo(Path("/proc/meminfo"))
    if "MemTotal" not in values:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        return Finding(name="memory", state="good", told=f"{total / _GIB:.1f} GiB" if total else "not known")
    told = f"{values['MemTotal'] / _GIB:.1f} GiB, {values['MemAvailable'] / _GIB:.1f} free"
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdecimal() and int(text) < values["MemTotal"]:
        told += f"; this container may use {int(text) / _GIB:.1f}"
    return Finding(name="memory", state="good", told=told)


def _meminfo(path: Path) -> dict[str, int]:
    """The kernel's account of the memory, in bytes; empty where it gives none."""
    if not path.is_file():
        return {}
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}  # noqa: PLR2004


def gpu() -> Finding:
    """The GPU that training and scoring would use.

    torch takes seconds to import, so it is asked only where a driver shows a GPU.
    """
    seen = _driver()
    mac = platform.system() == "Darwin" and platform.machine() == "arm64"
    if not (seen or mac):
        return Finding(name="GPU", state="without", told="none seen; everything works on processors, only slower")
    if not version_of("torch") or importlib.util.find_spec("torch") is None:
        told = f"{seen or 'an Apple GPU'}; torch, which would use it, is not installed"
        return Finding(name="GPU", state="without", told=told, mend="pip install 'reflectune[train]'")
    try:
        import torch
    except (ImportError, OSError) as error:
        told = f"{seen or 'an Apple GPU'}, but torch cannot be loaded: {error}"
        return Finding(name="GPU", state="broken", told=told, mend="Reinstall torch.")
    return _by_torch(torch, seen)


def _by_torch(torch: Any, seen: str) -> Finding:
    """What torch makes of the GPU that is there."""
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        told = ", ".join(f"{one.name} ({one.total_memory / _GIB:.0f} GiB)" for one in found)
        return Finding(name="GPU", state="good", told=f"{told}; torch {torch.__version__}")
    if torch.backends.mps.is_available():
        return Finding(name="GPU", state="good", told=f"an Apple GPU (MPS); torch {torch.__version__}")
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    why = "the driver is too old for it, or the GPU is kept from this process" if built else "it is built without CUDA"
    mend = "Update the driver." if built else "Install the build of torch for your driver: https://pytorch.org"
    told = f"{seen or 'an Apple GPU'}, but torch {torch.__version__} cannot use it: {why}"
    return Finding(name="GPU", state="broken", told=told, mend=mend)


def _driver() -> str:
    """The GPUs that a driver shows, in words; empty where none does."""
    if program := shutil.which("nvidia-smi"):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command line
                [program, *_SMI], capture_output=True, text=True, check=True, timeout=_PATIENCE
            )
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            if lines := [line.strip() for line in done.stdout.splitlines() if line.strip()]:
                return "; ".join(lines)
    return "a GPU" if any(Path(node).exists() for node in _NODES) else ""
