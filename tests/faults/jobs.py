"""The jobs that the fault harness breaks: small, and of every kind."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings

from .. import clips, pictures
from .judge import Broken
from .rig import Rig

SLOW = Recipe(
    instruction="leave it", model="identity:slow=0.02", size=64, chunk_frames=6, carryover=0,
    temporal_filter=0, scenes=False,
)  # fmt: skip


@dataclass
class Kind:
    """A kind of job, created anew for each case, and its undisturbed result.

    Attributes:
        source: makes the source below a folder, once for a rig; its path.
        chunks: about how many it has.
        share: how often it is drawn.
    """

    name: str
    source: Callable[[Path], Path]
    recipe: Recipe
    output: str
    chunks: int
    share: int
    good: dict[str, str] = field(default_factory=dict)
    _frames: list[str] = field(default_factory=list)

    def create(self, folder: Path, outputs: Path) -> JobFolder:
        """A planned job that writes into ``outputs``."""
        outputs.mkdir(parents=True)
        source = folder / "sources" / self.name
        if not source.exists():
            source.mkdir(parents=True)
            self.source(source)
        found = next(source.iterdir()) if self.output else source
        jobs = str(folder / "disk" / "jobs")
        settings = dataclasses.replace(
            Settings.from_env({"IP2P_JOBS_DIR": jobs}), state=folder / "state"
        )
        output = outputs / self.output if self.output else outputs / "tree"
        return scheduler.create_job(
            scheduler.EditRequest(source=found, output=output, recipe=self.recipe), settings
        )

    def reference(self, rig: Rig) -> None:
        """Run the job undisturbed, once."""
        if self.good:
            return
        outputs = rig.folder / "disk" / f"out-{self.name}"
        job = self.create(rig.folder, outputs)
        command = rig.command("resume", str(job.path))
        code = command.wait(400)
        if code not in (0, 1) or not job.ended:
            raise RuntimeError(
                f"the undisturbed {self.name} ends with {code}: {rig.said()[-2000:]}"
            )
        self.good = digests(outputs)
        if self.output:
            self._frames = frames(outputs / self.output)
        shutil.rmtree(outputs)
        shutil.rmtree(job.path)

    def compare(self, job: JobFolder, outputs: Path) -> None:
        """Check that the result equals the undisturbed one.

        Raises:
            Broken: a file is missing, unexpected, or different.
        """
        result = scheduler.read_result(job)
        if result.frames + len(result.failed) != job.plan().frames + _bad(job):
            raise Broken(f"the job says {result.frames} of {job.plan().frames} frames")
        found = digests(outputs)
        if missing := sorted(self.good.keys() - found.keys()):
            raise Broken(f"lost: {missing}")
        if more := sorted(found.keys() - self.good.keys()):
            raise Broken(f"too many: {more}")
        wrong = sorted(name for name in found if found[name] != self.good[name])
        if wrong and self.output:
            now = frames(outputs / self.output)
            if len(now) != len(self._frames):
                raise Broken(f"{len(now)} frames instead of {len(self._frames)}")
            wrong = [
                str(n) for n, (a, b) in enumerate(zip(now, self._frames, strict=True)) if a != b
            ]
        if wrong:
            raise Broken(f"not the same pixels: {wrong[:8]}")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, hidden ones included, by its path from there.

    Without item tables: they have times, and only commands that follow a job write one.
    """
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.endswith("-items.csv")
    }


def frames(path: Path) -> list[str]:
    """Time and pixels of every frame, as one digest each."""
    with av.open(str(path)) as container:
        return [
            f"{f.pts} {hashlib.sha256(f.to_ndarray(format='rgb24').tobytes()).hexdigest()}"
            for f in container.decode(video=0)
        ]


def _bad(job: JobFolder) -> int:
    return sum(item.error is not None and not item.skipped for item in job.items())


def _clip(folder: Path) -> Path:
    return clips.make(folder / "clip.mp4", 60, audio="aac", metadata={"title": "chaos"})


def _short_clip(folder: Path) -> Path:
    return clips.make(folder / "clip.mp4", 24)


def _album(folder: Path) -> Path:
    """Images of three shapes, in folders, one of them bad."""
    for number in range(60):
        size = ((64, 64), (96, 64), (64, 96))[number % 3]
        path = folder / f"{'ab'[number % 2]}" / f"{number:02d}.{('png', 'jpg', 'webp')[number % 3]}"
        path.parent.mkdir(exist_ok=True)
        Pil.fromarray(pictures.scene(*size)).rotate(number).save(path)
    (folder / "a" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    return folder


def _recipe(**values: object) -> Recipe:
    return Recipe(**{name: getattr(SLOW, name) for name in SLOW.__struct_fields__} | values)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("film", _clip, SLOW, "o.mp4", 10, 4),
        Kind("waves", _clip, _recipe(carryover=0.3), "o.mkv", 11, 4),
        Kind("album", _album, _recipe(model="identity:slow=0.03"), "", 6, 4),
        Kind(
            "tiny", _short_clip,
            _recipe(model="tiny", num_inference_steps=4, carryover=0.5, temporal_filter=1,
                    anchors=1, chunk_frames=4, guidance_scale=1.5, image_guidance_scale=1.2),
            "o.mp4", 7, 1,
        ),
    )
}  # fmt: skip
