"""Faults of disks, folders and files; see ``injections``."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from .scene import Heal, Missed, Scene


def fill_disk(scene: Scene) -> tuple[Heal, float]:
    """Fill the small disk if there is one; otherwise no file may grow."""
    if not os.path.ismount(scene.rig.folder / "disk"):
        return limit_files(scene)
    scene.storage_is_ill = True
    ballast = scene.rig.folder / "disk" / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass

    def heal() -> None:
        ballast.unlink(missing_ok=True)
        scene.storage_is_ill = False

    return heal, scene.chance.uniform(0.3, 4)


def limit_files(scene: Scene) -> tuple[Heal, float]:
    """Limit the size of files that workers write."""
    limit = scene.chance.choice((0, 200, 2000, 6000))
    pids = scene.processes()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_all(value: int) -> None:
        for pid in pids:
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (value, most))

    set_all(limit)
    return lambda: set_all(most), scene.chance.uniform(0.3, 4)


def lock_folder(scene: Scene) -> tuple[Heal, float]:
    """The job folder, or the result's, becomes read-only."""
    scene.storage_is_ill = True
    top = scene.chance.choice((scene.job.path, scene.job.path, scene.outputs))
    folders = [Path(where) for where, _, _ in os.walk(top)]
    modes = {}
    for folder in folders:
        with suppress(FileNotFoundError):
            modes[folder] = stat.S_IMODE(folder.stat().st_mode)
            folder.chmod(0o555)

    def heal() -> None:
        for folder, mode in modes.items():
            with suppress(FileNotFoundError):
                folder.chmod(mode)
        scene.storage_is_ill = False

    return heal, scene.chance.uniform(0.3, 4)


def lose_share(scene: Scene) -> tuple[Heal, float]:
    """Remove the job folder for a while, as when a share is not mounted."""
    scene.storage_is_ill = True
    path = scene.job.path
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)

    def heal() -> None:
        if path.exists():
            grown = sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))
            scene.notes.append(f"grew where the share was not mounted: {grown}")
            shutil.rmtree(path)
        aside.rename(path)
        scene.storage_is_ill = False

    return heal, scene.chance.uniform(0.3, 4)


def _some_file(scene: Scene) -> Path:
    folders = ["receipts", "segments", "borders"]
    scene.chance.shuffle(folders)
    for folder in folders:
        with suppress(OSError):
            found = sorted(p for p in (scene.job.path / folder).iterdir() if p.name[0] != ".")
            if found:
                return scene.chance.choice(found)
    raise Missed


def delete_file(scene: Scene) -> None:
    """Delete a receipt, a segment or a border's latents."""
    path = _some_file(scene)
    scene.notes.append(f"deleted {path.parent.name}/{path.name}")
    path.unlink(missing_ok=True)


def truncate_file(scene: Scene) -> None:
    """Truncate a receipt, a segment or a border's latents."""
    path = _some_file(scene)
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        cut = scene.chance.choice((0, size // 2, size - 1))
        os.truncate(path, cut)
        scene.notes.append(f"cut {path.parent.name}/{path.name} from {size} to {cut}")


def flip_byte(scene: Scene) -> None:
    """Change a byte of a segment or of a border's latents."""
    folder = scene.job.path / scene.chance.choice(("segments", "segments", "borders"))
    found = sorted(p for p in folder.iterdir() if p.name[0] != ".") if folder.is_dir() else []
    if not found:
        raise Missed
    path = scene.chance.choice(found)
    with suppress(FileNotFoundError):
        data = bytearray(path.read_bytes())
        at = scene.chance.randrange(len(data))
        data[at] ^= 0x41
        with path.open("r+b") as file:
            file.write(data)
        scene.notes.append(f"byte {at} of {path.name}")
