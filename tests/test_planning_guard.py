"""No result replaces a file that its job reads, whatever name leads to it."""

import os
import shutil

import msgspec
import pytest
from typer.testing import CliRunner

from ip2p_batch.cli.app import app
from ip2p_batch.errors import OutputError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import create_job

from .clips import make
from .pictures import save

RECIPE = Recipe(instruction="make it snow", model="identity", size=64)


@pytest.fixture
def source(tmp_path):
    for name in ("a.png", "b.png", "below/c.png"):
        save(tmp_path / "src" / name)
    (tmp_path / "other").mkdir()
    return tmp_path / "src"


def prepare(source, output, recipe=RECIPE, **options):
    return prepare_job(
        EditRequest(source=source, output=output, recipe=recipe, overwrite=True, **options)
    )


def errors(prepared):
    return {i.source.rpartition("/")[2]: i.error for i in prepared.items if i.error is not None}


def other_name(path, kind):
    """Another name of a file or folder."""
    link = path.parent / "other" / "link"
    if kind == "..":
        return path.parent / "other" / ".." / path.name
    if kind == "symbolic link":
        link.symlink_to(path)
    elif kind == "chain of links":
        (path.parent / "other" / "first").symlink_to(path)
        link.symlink_to("first")
    elif kind == "link above":
        (path.parent / "up").symlink_to(path.parent)
        return path.parent / "up" / path.name
    else:
        os.link(path, link)
    return link


FOLDER_NAMES = ("..", "symbolic link", "chain of links", "link above")


@pytest.mark.parametrize("kind", FOLDER_NAMES)
def test_a_source_folder_under_another_name_is_refused_as_output(source, kind):
    with pytest.raises(OutputError, match="is the source itself"):
        prepare(source, other_name(source, kind))


@pytest.mark.parametrize("kind", (*FOLDER_NAMES, "hard link"))
@pytest.mark.parametrize("name", ("clip.mp4", "image.png"))
def test_a_source_file_under_another_name_is_refused_as_output(tmp_path, name, kind):
    (tmp_path / "other").mkdir()
    path = tmp_path / name
    make(path, 3) if path.suffix == ".mp4" else save(path)
    link = other_name(path, kind)
    if not link.suffix:
        link = link.rename(link.with_suffix(path.suffix))
    with pytest.raises(OutputError, match=r"source itself|this job reads"):
        prepare(path, link)


@pytest.mark.parametrize("name", ("clip.mp4", "image.png"))
def test_a_folder_as_output_that_holds_the_source_file_is_refused(tmp_path, name):
    path = tmp_path / name
    make(path, 3) if path.suffix == ".mp4" else save(path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="this job reads"):
        prepare(path, tmp_path / "link")


def test_a_subfolder_of_the_output_that_leads_back_into_the_source_is_refused(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "below").symlink_to(source / "below")
    assert "which this job reads" in errors(prepare(source, out))["c.png"]
    changed = prepare(source, out, encoding=Encoding(format="webp"))
    assert "leads back into the source" in errors(changed)["c.png"]  # it would be a new file there
    assert set(errors(changed)) == {"c.png"}


def test_each_output_is_compared_with_every_source_of_the_job(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    os.link(source / "b.png", out / "a.png")
    (out / "b.png").symlink_to(source / "below" / "c.png")
    found = errors(prepare(source, out))
    assert set(found) == {"a.png", "b.png"}
    assert str(source / "b.png") in found["a.png"]
    assert str(source / "below/c.png") in found["b.png"]


def test_rows_of_a_list_are_compared_with_every_source_and_with_the_list(source, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("path,output\nsrc/a.png,src2/b.png\nsrc/b.png,x.png\nsrc/below/c.png,l.png\n")
    (tmp_path / "src2").symlink_to(source)
    os.link(table, tmp_path / "l.png")
    found = errors(prepare(table, tmp_path))
    assert set(found) == {"a.png", "c.png"}
    assert str(source / "b.png") in found["a.png"]
    assert str(table) in found["c.png"]


def test_other_files_that_a_command_reads_are_no_outputs(source, tmp_path):
    reference = save(tmp_path / "reference.png")
    recipe = msgspec.structs.replace(RECIPE, reference_image=str(reference))
    with pytest.raises(OutputError, match="this job reads"):
        prepare(source / "a.png", reference, recipe)
    file = tmp_path / "recipe.png"
    file.write_text('instruction = "make it snow"\nmodel = "identity"\nsize = 64\n')
    image = source / "a.png"
    arguments = ["edit", image, "--recipe", file, "--overwrite", "-o", file]
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 4, result.output
    assert file.read_text().startswith("instruction")


def test_results_inside_the_source_are_no_input_the_next_time(source):
    out = source / "edited"
    out.mkdir()
    shutil.copy(source / "a.png", out / "a.png")
    for name in (out, source / "below" / ".." / "edited"):
        prepared = prepare(source, name)
        assert {i.source for i in prepared.items} == {
            str(source / n) for n in ("a.png", "b.png", "below/c.png")
        }
        assert errors(prepared) == {}


@pytest.mark.parametrize("name", ["edited", "new/edited", "below/../edited"])
def test_a_folder_of_results_inside_the_source_need_not_exist(source, name):
    prepared = prepare(source, source / name)
    assert errors(prepared) == {}
    assert len(prepared.items) == 3


def test_a_source_inside_the_output_gets_no_results_into_itself(source, tmp_path):
    save(source / "src" / "d.png")  # its result would be src/d.png
    assert "leads back into the source" in errors(prepare(source, tmp_path))["d.png"]
    assert set(errors(prepare(source, tmp_path))) == {"d.png"}


def test_a_refused_output_leaves_every_source_as_it_was(source, tmp_path, settings):
    before = {p: p.read_bytes() for p in source.rglob("*.png")}
    with pytest.raises(OutputError):
        create_job(
            EditRequest(
                source=source,
                output=tmp_path / "other" / ".." / "src",
                recipe=RECIPE,
                overwrite=True,
            ),
            settings,
        )
    assert {p: p.read_bytes() for p in source.rglob("*.png")} == before


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "deep/" * 1000 + "a.png", "x" * 300])
def test_an_output_whose_name_is_too_long_is_one_error(source, name):
    for sources in (source / "a.png", source):
        with pytest.raises(OutputError, match="cannot be written: File name too long"):
            prepare(sources, source.parent / "other" / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may search every folder")
def test_an_output_in_a_folder_that_may_not_be_searched_is_one_error(source):
    locked = source.parent / "other"
    locked.chmod(0)
    try:
        with pytest.raises(OutputError, match="cannot be written: Permission denied"):
            prepare(source / "a.png", locked / "a.png")
    finally:
        locked.chmod(0o700)


def test_a_format_that_the_suffix_of_the_output_contradicts_is_refused(source, tmp_path):
    output = tmp_path / "a.webp"
    with pytest.raises(OutputError, match="--format jpeg does not fit"):
        prepare(source / "a.png", output, encoding=Encoding(format="jpeg"))
    (item,) = prepare(source / "a.png", output, encoding=Encoding(format="webp")).items
    assert item.output == str(output)
