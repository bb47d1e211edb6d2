"""Where compiled kernels are kept."""

import functools
import hashlib
import tempfile
import warnings
from pathlib import Path

from numba.core import config
from numba.misc.appdirs import AppDirs

_HERE = Path(__file__).parent


def directories():
    """Where compiled kernels may lie, the first choice first: only in $NUMBA_CACHE_DIR if that is set."""
    own = f"sstricks_{hashlib.sha256(str(_HERE).encode()).hexdigest()[:16]}"
    if given := config.CACHE_DIR:  # pyright: ignore[reportAttributeAccessIssue]
        return [Path(given, own)]
    return [_HERE / "__pycache__", Path(AppDirs("numba", False).user_cache_dir, own)]


@functools.cache
def writable_directory():
    """The first of them that can be written, None if there is none."""
    for directory in directories():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
        except OSError:
            continue
        return directory
    return None


def no_directory():
    """What to say if there is none."""
    return (
        f"no place for compiled kernels: cannot write to {' or '.join(map(str, directories()))}. Set the environment "
        "variable NUMBA_CACHE_DIR to a directory that can be written; in a container's image, run "
        "`python -m sstricks.warmup` when you build the image."
    )


@functools.cache
def warn_once():
    """Say it in this process, if nobody has yet."""
    warnings.warn(f"sstricks found {no_directory()} Until then every process compiles anew.", stacklevel=2)
