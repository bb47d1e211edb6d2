import errno
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from sstricks.experiments.runs.errors import RunError, first_line
from sstricks.experiments.runs.files import naming, write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to the disk, made such that a killed process leaves the previous checkpoint whole.

    Lightning's own writes beside the system's temporary files and moves, which is a copy when that is another file
    system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Replace a checkpoint in one step.

        Args:
            checkpoint: what `torch.save` can write.
            path: the file to replace.
            storage_options: not used.

        Raises:
            OSError: if the disk is full, for instance.
            RuntimeError: if it cannot be written for another reason.
        """
        try:
            write_atomically(Path(path), lambda file: torch.save(checkpoint, file))
        except RuntimeError as error:
            refusal = error.__context__  # torch fails once more, while it ends a file that could not be written
            if not isinstance(refusal, OSError):
                raise
            with naming(Path(path)):
                raise refusal from None

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint, which holds tensors and plain values only.

        Args:
            path: the file.
            map_location: where the tensors go.
            weights_only: not used; nothing else is ever loaded.

        Returns:
            The checkpoint.

        Raises:
            RunError: if the file is damaged.
        """
        return read_checkpoint(Path(path), map_location or "cpu")


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint that may be damaged; it holds tensors and plain values only.

    Args:
        path: the file.
        map_location: where the tensors go.

    Returns:
        The checkpoint.

    Raises:
        RunError: if it is no checkpoint, or not a whole one.
        OSError: if it cannot be read.
    """
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError:
        raise RunError(_damaged(path, "it is something else")) from None
    except (RuntimeError, EOFError) as error:
        raise RunError(_damaged(path, first_line(error))) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # which is to look for the end of an archive before the beginning of its file
            raise
        raise RunError(_damaged(path, "it is cut off")) from None
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise RunError(_damaged(path, "it has no parameters"))
    return checkpoint


def _damaged(path: Path, why: str) -> str:
    return f"{path}: found no whole checkpoint ({why}). Restore the file, or start a new run in another folder."
