"""Sources of one command become requests: one for each video and each set of images."""

from pathlib import Path

import pytest
from PIL import Image as Pil

from ip2p_batch.errors import OutputError, RecipeError, SourceError
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.planning.sources import for_sources, prepare_jobs
from ip2p_batch.planning.split import split_request
from ip2p_batch.recipe import Recipe

from . import clips

RECIPE = Recipe(instruction="make it snow", model="identity", size=64, carryover=0.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    clips.make(path, 6)
    return path.read_bytes()


@pytest.fixture
def tree(tmp_path, clip):
    """Two videos and two images in a folder with a subfolder."""
    root = tmp_path / "day"
    (root / "deep").mkdir(parents=True)
    for name in ("b.mp4", "deep/c.mp4"):
        (root / name).write_bytes(clip)
    for name in ("a.png", "deep/d.png"):
        Pil.new("RGB", (64, 48), (90, 120, 30)).save(root / name)
    return root


def request(**options):
    return EditRequest(source=Path("unused"), recipe=RECIPE, **options)


def names(split, root):
    return [part.source.relative_to(root).as_posix() for part in split.requests]


def test_a_folder_without_videos_is_one_request_with_its_listing(tree):
    for video in tree.rglob("*.mp4"):
        video.unlink()
    (part,) = split_request(request(), [tree]).requests
    assert part.source == tree
    assert [Path(item.source).name for item in part.listing.items] == ["a.png", "d.png"]


def test_each_video_of_a_folder_is_a_request_and_its_images_are_one(tree, tmp_path):
    split = split_request(request(output=tmp_path / "out"), [tree])
    assert names(split, tmp_path) == ["day", "day/b.mp4", "day/deep/c.mp4"]
    assert [part.output for part in split.requests] == [
        tmp_path / "out",
        tmp_path / "out/b.mp4",
        tmp_path / "out/deep/c.mp4",
    ]


def test_videos_without_an_output_go_next_to_the_folder(tree, tmp_path):
    outputs = [part.output for part in split_request(request(), [tree]).requests]
    assert outputs[1:] == [
        tmp_path / "day-edited/b.mp4",
        tmp_path / "day-edited/deep/c.mp4",
    ]


def test_containers_that_cannot_be_written_become_matroska(tmp_path, clip):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/film.avi").write_bytes(clip)
    (part,) = split_request(request(output=tmp_path / "out"), [tmp_path / "in"]).requests
    assert part.output == tmp_path / "out/film.mkv"


def test_the_later_of_two_videos_with_one_output_is_refused(tmp_path, clip):
    (tmp_path / "in").mkdir()
    for name in ("film.avi", "film.mkv"):
        (tmp_path / "in" / name).write_bytes(clip)
    split = split_request(request(output=tmp_path / "out"), [tmp_path / "in"])
    assert names(split, tmp_path) == ["in/film.avi"]
    (refused,) = split.refused
    assert refused.path == str(tmp_path / "in/film.mkv")
    assert "already the output of" in refused.reason


def test_several_sources_keep_their_names_in_the_output_folder(tree, tmp_path):
    out = tmp_path / "out"
    sources = [tree / "b.mp4", tree / "a.png", tree / "deep"]
    split = split_request(request(output=out), sources)
    assert names(split, tree) == ["a.png", "b.mp4", "deep", "deep/c.mp4"]
    assert [part.output for part in split.requests] == [
        out / "a.png",
        out / "b.mp4",
        out / "deep",
        out / "deep/c.mp4",
    ]


def test_images_that_are_named_one_by_one_are_one_set(tree, tmp_path):
    sources = [tree / "a.png", tree / "deep/d.png"]
    (part,) = split_request(request(output=tmp_path / "out"), sources).requests
    assert part.source == sources[0]
    assert [item.output for item in part.listing.items] == [
        str(tmp_path / "out/a.png"),
        str(tmp_path / "out/d.png"),
    ]
    (part,) = split_request(request(encoding=Encoding(format="jpeg")), sources).requests
    assert [item.output for item in part.listing.items] == [
        str(tree / "a-edited.jpg"),
        str(tree / "deep/d-edited.jpg"),
    ]


def test_an_image_named_twice_is_edited_once(tree):
    split = split_request(request(), [tree / "a.png", tree / "deep/../a.png"])
    assert names(split, tree) == ["a.png"]
    assert split.requests[0].listing is None


def test_two_images_of_one_name_do_not_replace_each_other(tree, tmp_path):
    (tree / "deep/a.png").write_bytes((tree / "a.png").read_bytes())
    sources = [tree / "a.png", tree / "deep/a.png"]
    (part,) = split_request(request(output=tmp_path / "out"), sources).requests
    assert [item.error is None for item in part.listing.items] == [True, False]


@pytest.mark.parametrize("name", ["out.mp4", "out.PNG"])
def test_the_output_of_several_sources_is_a_folder(tree, tmp_path, name):
    sources = [tree / "a.png", tree / "b.mp4"]
    with pytest.raises(OutputError, match="need a folder"):
        split_request(request(output=tmp_path / name), sources)
    (tmp_path / name).mkdir()
    assert len(split_request(request(output=tmp_path / name), sources).requests) == 2


def test_options_for_one_kind_are_removed_from_the_other(tree):
    options = request(
        start=0.04,
        decoding=Decoding(stream=0, follow_links=True),
        encoding=Encoding(format="jpeg", quality=90, crf=20),
    )
    images, video, _ = split_request(options, [tree]).requests
    assert (images.start, images.decoding) == (None, Decoding(follow_links=True))
    assert images.encoding.format == "jpeg"
    assert (video.start, video.decoding) == (0.04, Decoding(stream=0))
    assert (video.encoding.format, video.encoding.crf) == (None, 20)


def test_a_video_of_a_folder_is_the_same_job_as_the_video_alone(tree, tmp_path):
    of_folder = prepare_jobs(request(output=tmp_path / "out"), [tree]).made[1]
    alone = prepare_jobs(request(output=tmp_path / "out/b.mp4"), [tree / "b.mp4"]).made[0]
    assert of_folder.job.id == alone.job.id


def test_a_folder_without_images_and_videos_names_what_is_left_out(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match=r"no images or videos.*1 \.txt"):
        split_request(request(), [tmp_path])


def test_a_missing_instruction_is_one_error(tree):
    bare = EditRequest(source=tree, recipe=Recipe(instruction="", model="identity"))
    with pytest.raises(RecipeError, match="instruction"):
        split_request(bare, [tree])


def test_a_source_that_cannot_be_read_does_not_stop_the_others(tree):
    (tree / "deep/c.mp4").write_bytes(b"this is text")
    events = []
    jobs = prepare_jobs(request(), [tree, tree / "gone.mp4"], events.append)
    assert [Path(p.job.source.path).name for p in jobs.made] == ["day", "b.mp4"]
    assert {Path(r.path).name for r in jobs.refused} == {"c.mp4", "gone.mp4"}
    failed = [e for e in events if e.kind == "failed_item"]
    assert {Path(e.data["path"]).name for e in failed} == {"c.mp4", "gone.mp4"}
    assert all(e.message and str(tree) not in e.message for e in failed)


def test_the_only_source_that_cannot_be_read_is_an_error(tree):
    with pytest.raises(SourceError):
        prepare_jobs(request(), [tree / "gone.mp4"])


def test_videos_whose_output_exists_are_skipped_without_being_read(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.mp4").write_text("mine")
    made = []
    jobs = for_sources(request(output=out), [tree], lambda r: made.append(r.source.name))
    assert made == ["day", "c.mp4"]
    assert [part.source for part in jobs.skipped] == [tree / "b.mp4"]
    made.clear()
    for_sources(request(output=out, overwrite=True), [tree], lambda r: made.append(r.source.name))
    assert made == ["day", "b.mp4", "c.mp4"]


def test_no_video_replaces_another_source(tree, tmp_path):
    options = request(output=tree, overwrite=True)
    jobs = prepare_jobs(options, [tree / "b.mp4", tree / "deep"])
    assert {Path(r.path).name for r in jobs.refused} >= {"b.mp4"}
    assert all(Path(p.job.output) != tree / "b.mp4" for p in jobs.made)


def test_two_dots_name_the_output_after_the_real_folder(tree, monkeypatch):
    monkeypatch.chdir(tree / "deep")
    first = prepare_jobs(request(), [Path("..")]).made[0]
    assert first.job.output == str(tree.with_name("day-edited"))
    with pytest.raises(OutputError, match="no name"):
        prepare_jobs(request(), [Path("/")])


# -- videos in lists ------------------------------------------------------------------------


def write_list(tree, *rows):
    path = tree / "list.csv"
    path.write_text("\n".join(["path,instruction,output,seed,guidance_scale", *rows]))
    return path


def test_videos_of_a_list_have_their_own_values_and_outputs(tree, tmp_path):
    path = write_list(
        tree,
        "a.png,make it night,,,",
        "b.mp4,make it summer,,7,4.5",
        "deep/c.mp4,,x/y.mov,,",
    )
    images, first, second = split_request(request(output=tmp_path / "out"), [path]).requests
    assert [item.output for item in images.listing.items] == [str(tmp_path / "out/a.png")]
    assert first.output == tmp_path / "out/b.mp4"
    own = first.recipe
    assert (own.instruction, own.seed, own.guidance_scale) == ("make it summer", 7, 4.5)
    assert second.output == tmp_path / "out/x/y.mov"
    assert second.recipe == RECIPE


def test_faulty_rows_of_videos_are_refused_by_name(tree, tmp_path):
    path = write_list(tree, "b.mp4,,,one,", "gone.mp4,,,,", "deep/c.mp4,,../c.mp4,,", "a.png,,,,")
    jobs = prepare_jobs(request(output=tmp_path / "out"), [path])
    assert [Path(p.job.source.path).name for p in jobs.made] == ["list.csv"]
    reasons = {Path(r.path).name: r.reason for r in jobs.refused}
    assert set(reasons) == {"b.mp4", "gone.mp4", "c.mp4"}
    assert "line 2: seed" in reasons["b.mp4"]
    assert "no such file" in reasons["gone.mp4"].lower()
    assert "is not inside" in reasons["c.mp4"]


def test_a_video_of_a_list_without_an_instruction_is_refused(tree):
    path = write_list(tree, "b.mp4,,,,", "deep/c.mp4,make it snow,,,")
    bare = EditRequest(source=path, recipe=Recipe(instruction="", model="identity", size=64))
    jobs = prepare_jobs(bare, [path])
    assert [Path(p.job.source.path).name for p in jobs.made] == ["c.mp4"]
    assert [r.reason for r in jobs.refused] == ["it has no instruction"]


def test_one_video_may_have_several_rows_with_several_outputs(tree, tmp_path):
    path = write_list(tree, "b.mp4,a,1.mp4,,", "b.mp4,b,2.mkv,,", "b.mp4,c,1.mp4,,")
    split = split_request(request(output=tmp_path / "out"), [path])
    assert [part.output.name for part in split.requests] == ["1.mp4", "2.mkv"]
    assert [Path(r.path).name for r in split.refused] == ["b.mp4"]


def test_animated_gifs_of_folders_and_lists_are_videos_and_still_ones_are_images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    frames = [Pil.new("RGB", (64, 48), (25 * n, 90, 30)) for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(folder / "still.gif")
    (folder / "list.csv").write_text("path\nmoving.gif\nstill.gif\n")
    for source in (folder, folder / "list.csv"):
        jobs = prepare_jobs(request(output=tmp_path / "out"), [source]).made
        assert [job.plan.frames for job in jobs] == [1, 3]
        assert Path(jobs[1].job.output).stem == "moving"


def test_the_only_video_of_a_folder_is_skipped_like_one_of_several(tmp_path, clip):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.mp4").write_bytes(clip)
    jobs = prepare_jobs(request(), [folder])
    assert not jobs.is_single and jobs.folder == tmp_path / "in-edited"
    jobs.folder.mkdir()
    (jobs.folder / "b.mp4").write_text("mine")
    again = prepare_jobs(request(), [folder])
    assert (len(again.made), len(again.skipped)) == (0, 1)
    assert prepare_jobs(request(), [folder / "b.mp4"]).is_single


def test_the_results_of_several_sources_are_no_sources_the_next_time(tree, clip):
    out = tree / "out"
    sources = [tree, tree / "deep"]
    first = split_request(request(output=out), sources)
    assert not prepare_jobs(request(output=out), sources).refused
    (out / "deep").mkdir(parents=True)
    (out / "deep/c.mp4").write_bytes(clip)
    again = split_request(request(output=out), sources)
    assert names(again, tree) == names(first, tree)


def test_a_folder_of_videos_names_what_it_leaves_out(tree):
    for image in tree.rglob("*.png"):
        image.unlink()
    (tree / "notes.txt").write_text("x")
    events = []
    jobs = prepare_jobs(request(), [tree], events.append)
    assert jobs.notes == ("Left out: 1 .txt (notes.txt).",)
    assert [e.message for e in events if e.kind == "warning"] == list(jobs.notes)
