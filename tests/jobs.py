"""Small jobs for tests: a folder of stills, and a recipe for the bundled model."""

from pathlib import Path

from PIL import Image

from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import ImageChunk, Plan, chunk_id
from ip2p_batch.jobs.spec import Item, Job, Source
from ip2p_batch.recipe import Recipe

#: Every consistency setting at once, on the bundled model.
TINY = Recipe(
    instruction="make it night",
    model="tiny",
    size=128,
    num_inference_steps=5,
    guidance_scale=1.5,
    image_guidance_scale=1.2,
    chunk_frames=6,
    anchors=2,  # in addition to carryover and the temporal filter, which are on by default
)


def image_job(folder: Path, pictures=4, *, model="identity", each=1, size=64) -> JobFolder:
    """A job folder with ``images`` small images, ``each`` in a chunk."""
    source, output = folder / "in", folder / "out"
    source.mkdir(parents=True)
    items = []
    for number in range(pictures):
        path = source / f"{number}.png"
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
        items.append(Item(source=str(path), output=str(output / path.name), width=16, height=16))
    chunks = tuple(
        ImageChunk(id=chunk_id(1, n), wave=1, start=n, stop=min(n + each, pictures))
        for n in range(0, pictures, each)
    )
    job = Job(
        id="catalog",
        source=Source(path=str(source), stamp="s", items=pictures),
        recipe=Recipe(instruction="make it snow", model=model, size=size),
        output=str(output),
    )
    plan = Plan(chunks=chunks, size=(size, size))
    return JobFolder.create(folder / "job", job, plan, items=items)
