"""A folder of images with a table: good rows are read, bad ones counted, none silently used."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from minilearn.data import image_table

AGES = {"a.png": 20.0, "sub/b.png": 31.5, "c.jpg": 64.0}


@pytest.fixture
def folder(tmp_path):
    """Three images in one plain colour each; (red, green, blue) grows with the age."""
    for file, age in AGES.items():
        path = tmp_path / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), colour(age)).save(path)
    return tmp_path / "images"


def colour(age: float) -> tuple[int, int, int]:
    return int(age), int(2 * age), int(3 * age)


def table(folder, *rows: str, header: str = "file,age"):
    path = folder.parent / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def good(folder, *more: str):
    return table(folder, *(f"{file},{age}" for file, age in AGES.items()), *more)


def test_good_rows_in_the_order_of_the_table(folder):
    data = image_table(folder, good(folder), size=8)
    assert data.inputs.shape == (3, 3, 8, 8) and data.inputs.dtype == torch.float32
    assert data.task == "regression" and data.targets.tolist() == list(AGES.values())
    for image, age in zip(data.inputs, AGES.values(), strict=True):
        expected = torch.tensor(colour(age)).float()[:, None, None].expand(3, 8, 8) / 255
        torch.testing.assert_close(image, expected, rtol=0, atol=3 / 255)  # JPEG is inexact


def test_pixels_stay_where_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "x.png")
    data = image_table(tmp_path / "images", table(tmp_path / "images", "x.png,1"), size=8)
    assert torch.equal(data.inputs[0], torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)


def test_sixteen_bits_of_grey_are_not_white(tmp_path):
    ramp = np.linspace(0, 65535, 16).reshape(4, 4).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("file,age\na.png,3\n")
    data = image_table(tmp_path, tmp_path / "t.csv", size=4, channels=1)
    expected = torch.from_numpy(ramp / 65535.0).float()
    assert torch.allclose(data.inputs[0, 0], expected, atol=1 / 255)


def test_grey_in_32_bits_is_read_by_its_range_and_floating_point_is_a_bad_row(tmp_path):
    levels = {"small": np.full((4, 4), 200, np.int32), "large": np.full((4, 4), 51400, np.int32)}
    levels["unknown"] = np.full((4, 4), 0.5, np.float32)
    for name, level in levels.items():
        Image.fromarray(level).save(tmp_path / f"{name}.tiff")
    rows = "".join(f"{name}.tiff,1\n" for name in levels)
    (tmp_path / "table.csv").write_text("file,age\n" + rows)
    options = {"size": 4, "channels": 1}
    with pytest.raises(ValueError, match="unknown.tiff' is broken .its grey is floating-point"):
        image_table(tmp_path, tmp_path / "table.csv", **options)
    with pytest.warns(UserWarning, match="its grey is floating-point"):
        read = image_table(tmp_path, tmp_path / "table.csv", **options, on_bad="skip")
    assert torch.allclose(read.inputs, torch.tensor(200 / 255)) and len(read) == 2


def test_grey_images_classes_and_other_columns(folder):
    path = table(folder, "7,a.png,0", "8,sub/b.png,2.0", header="id,path,sex")
    data = image_table(
        folder, path, file="path", target="sex", size=5, channels=1, regression=False
    )
    assert data.inputs.shape == (2, 1, 5, 5) and data.targets.tolist() == [0, 2]
    grey = sum(w * c for w, c in zip((0.299, 0.587, 0.114), colour(20.0), strict=True)) / 255
    assert data.inputs[0].mean().item() == pytest.approx(grey, abs=1 / 255)


def test_quotes_a_mark_at_the_start_and_blank_lines(folder):
    path = folder.parent / "table.csv"
    path.write_bytes(b'\xef\xbb\xbf"file","age"\r\n"a.png","20"\r\n\r\n')
    assert image_table(folder, path).targets.tolist() == [20]


BAD_ROWS = {
    "missing.png,5": "there is no file 'missing.png'",
    "a.png,young": "age is 'young', not a finite number",
    "a.png,nan": "age is 'nan', not a finite number",
    "a.png,inf": "age is 'inf', not a finite number",
    "a.png,1e300": "age is '1e300', not a finite number",
    "a.png,": "age is '', not a finite number",
    "a.png": "age is None, not a finite number",
    ",5": "there is no file ''",
    "sub,5": "there is no file 'sub'",
    "../outside.png,5": "there is no file '../outside.png'",
    "text.png,5": "the image 'text.png' is broken",
    "cut.png,5": "the image 'cut.png' is broken",
    "empty.png,5": "the image 'empty.png' is broken",
}


def spoil(folder):
    (folder / "text.png").write_text("this is no image")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(folder.parent / "outside.png")


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.items())
def test_a_bad_row_is_refused_or_left_out_by_name(folder, row, reason):
    spoil(folder)
    path = good(folder, row)
    with pytest.raises(ValueError) as caught:
        image_table(folder, path, size=8)
    sentence = str(caught.value)
    assert f"1 of 4 rows of {path} are bad (line 5: {reason}" in sentence and "\n" not in sentence
    assert sentence.endswith('leave them out with on_bad="skip"')
    with pytest.warns(UserWarning) as warned:
        data = image_table(folder, path, size=8, on_bad="skip")
    assert str(warned[0].message).startswith(f"left out: 1 of 4 rows of {path} are bad (line 5: ")
    assert warned[0].filename == __file__  # it points to the caller
    assert data.targets.tolist() == list(AGES.values())


def test_many_bad_rows_are_counted_and_the_first_shown(folder):
    spoil(folder)
    path = table(folder, *BAD_ROWS, "c.jpg,64")
    with pytest.raises(ValueError, match=r"13 of 14 rows .*line 2: .*line 4: .*; and 10 more\)"):
        image_table(folder, path)
    with pytest.warns(UserWarning, match="left out: 13 of 14"):
        data = image_table(folder, path, on_bad="skip")
    assert data.targets.tolist() == [64]


def test_no_warning_when_nothing_is_left_out(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(image_table(folder, good(folder), on_bad="skip")) == 3


def test_when_no_row_is_left(folder):
    with pytest.raises(ValueError, match="1 of 1 rows .* are bad .*: none is left"):
        image_table(folder, table(folder, "missing.png,3"), on_bad="skip")
    with pytest.raises(ValueError, match="has no rows"):
        image_table(folder, table(folder))


@pytest.mark.parametrize("text", ["-1", "1.5", "nan", "inf", "1e10", "five", ""])
def test_targets_that_are_no_class(folder, text):
    with pytest.raises(ValueError, match=f"age is '{text}', not a class number from 0 on"):
        image_table(folder, table(folder, f"a.png,{text}"), regression=False)


def test_columns_that_are_not_there(folder):
    with pytest.raises(ValueError, match="has no column 'age'; its columns are 'name', 'years'"):
        image_table(folder, table(folder, header="name,years"), file="name")
    with pytest.raises(ValueError, match="has no column 'file'; its columns are none"):
        (folder.parent / "nothing.csv").write_text("")
        image_table(folder, folder.parent / "nothing.csv")


def test_a_comma_too_much_and_a_column_twice_are_no_numbers(folder):
    with pytest.raises(ValueError, match="line 2 of .* has 3 cells under 2 column names; a comma"):
        image_table(folder, table(folder, "a.png,3,5"), on_bad="skip")
    with pytest.raises(ValueError, match="has two columns 'age': rename one"):
        image_table(folder, table(folder, "a.png,3,5", header="file,age,age"))
    other = image_table(folder, table(folder, "a.png,3,5", header="file,age,name"), size=8)
    assert other.targets.tolist() == [3.0]


def test_folders_and_tables_that_cannot_be_read(folder, tmp_path):
    path = good(folder)
    with pytest.raises(ValueError, match="the image folder .*nowhere does not exist"):
        image_table(tmp_path / "nowhere", path)
    with pytest.raises(ValueError, match="the image folder .*table.csv is a file"):
        image_table(path, path)
    with pytest.raises(ValueError, match="the table .*other.csv cannot be read: No such file"):
        image_table(folder, tmp_path / "other.csv")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        image_table(folder, folder)
    with pytest.raises(ValueError, match="is no CSV text in UTF-8"):
        image_table(folder, folder / "c.jpg")
    with pytest.raises(ValueError, match="folder must be a path, got int"):
        image_table(3, path)
    with pytest.raises(ValueError, match="table must be a path, got list"):
        image_table(folder, [["a.png", 20]])


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"size": 0}, "size must be a whole number of at least 1, got 0"),
        ({"size": "32"}, "size must be a whole number of at least 1, got '32'"),
        ({"size": (32, 32)}, "size must be a whole number of at least 1, got tuple"),
        ({"channels": 4}, r"channels must be 1 \(grey\) or 3 \(colour\), got 4"),
        ({"channels": None}, "channels must be 1"),
        ({"channels": [3]}, "channels must be 1"),
        ({"on_bad": "ignore"}, "on_bad is one of .'refuse', 'skip'., got 'ignore'"),
        ({"on_bad": None}, "on_bad is one of"),
    ],
)
def test_options_that_make_no_sense(folder, option, sentence):
    with pytest.raises(ValueError, match=sentence):
        image_table(folder, good(folder), **option)
