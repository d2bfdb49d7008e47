"""Folders of faces in the published layouts: the split that was asked for, ages, people."""

import hashlib

import pytest
import torch
from PIL import Image

from minilearn.data import (
    AGE_GROUPS,
    BANDS,
    Examples,
    MissingData,
    age_groups,
    agedb,
    imdb_wiki,
    load,
    utkface,
)
from minilearn.requests import by_range

AGEDB = (
    (31, "AgeDB/1_MariaCallas_31_f.jpg", "train"),
    (62, "AgeDB/2_MariaCallas_62_f.jpg", "test"),
    (8, "AgeDB/3_WillSmith _8_m.jpg", "train"),
    (30, "AgeDB/4_Ross_30_f.jpg", "val"),
    (9, "AgeDB/5_WillSmith_9_m.jpg", "test"),
)
WIKI = (
    (40, "imdb_crop/05/a.jpg", "train"),
    (25, "wiki_crop/01/b.jpg", "test"),
    (26, "wiki_crop/01/c.jpg", "val"),
)


def draw(path, age):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (age, age, age)).save(path)


def write(root, table, images, rows):
    for age, path, _ in rows:
        draw(images / path, age)
    lines = ["age,path,split", *(f"{age},{path},{split}" for age, path, split in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def faces(tmp_path):
    return write(tmp_path, tmp_path / "AgeDB" / "agedb.csv", tmp_path, AGEDB)


@pytest.fixture
def wiki(tmp_path):
    folder = tmp_path / "IMDB-WIKI"
    return write(tmp_path, folder / "imdb_wiki.csv", folder, WIKI)


def more(root, *lines: str):
    with (root / "AgeDB" / "agedb.csv").open("a", encoding="utf-8") as table:
        table.writelines(f"{line}\n" for line in lines)


def ages_drawn(part):
    return (part.inputs.mean((1, 2, 3)) * 255).round().tolist()


def test_agedb_by_its_table(faces):
    train, test = agedb(root=faces, size=8)
    assert train.targets.tolist() == [31, 8] and test.targets.tolist() == [62, 9]
    assert train.targets.dtype == torch.float32 and train.inputs.shape == (2, 3, 8, 8)
    assert ages_drawn(train) == [31, 8] and ages_drawn(test) == [62, 9]
    # one number a person in both parts, and a blank before the _ does not make another person
    assert train.groups.tolist() == test.groups.tolist() == [0, 1]
    assert agedb(root=faces, held_out="val").test.targets.tolist() == [30]


def test_the_published_band(faces):
    train = agedb(root=faces).train
    assert by_range(train, *BANDS["agedb"]).mask.tolist() == [False, True]
    assert BANDS["agedb"][1] > 30 and BANDS["stsb"] == (0, 2)


def test_a_file_named_otherwise_is_a_person_of_its_own(faces):
    draw(faces / "AgeDB" / "x.jpg", 5)
    more(faces, "5,AgeDB/x.jpg,test")
    assert agedb(root=faces).test.groups.unique().numel() == 3


def test_imdb_wiki_by_its_table(wiki):
    train, test = imdb_wiki(root=wiki, size=4)
    assert (train.targets.tolist(), test.targets.tolist()) == ([40], [25])
    assert imdb_wiki(root=wiki, held_out="val").test.targets.tolist() == [26]
    assert ages_drawn(train) == [40] and train.groups is None


def name(age, i, end=".jpg.chip.jpg"):
    return f"{age}_{i % 2}_{i % 5}_2017{i:04d}{end}"


@pytest.fixture
def utk(tmp_path):
    for i in range(40):
        draw(tmp_path / "UTKFace" / name(i + 1, i), i + 1)
    return tmp_path


def test_utkface_split_by_the_sum_of_the_name(utk):
    train, test = utkface(root=utk, size=4)
    first_byte = {i + 1: hashlib.sha256(name(i + 1, i, "").encode()).digest()[0] for i in range(40)}
    assert set(test.targets.tolist()) == {age for age, byte in first_byte.items() if byte < 51}
    assert len(train) + len(test) == 40 and 0 < len(test) < 20
    assert ages_drawn(train) == train.targets.tolist() and ages_drawn(test) == test.targets.tolist()


def test_utkface_split_stays_when_files_come(utk):
    before = utkface(root=utk).test.targets.tolist()
    for i in range(40, 60):
        draw(utk / "UTKFace" / "part2" / name(i + 1, i, ".jpg"), i + 1)
    after = utkface(root=utk)
    assert set(before) < set(after.test.targets.tolist()) and len(after.train) > 40 - len(before)


BAD = {
    "nan,AgeDB/1_MariaCallas_31_f.jpg,train": "age is 'nan', not a finite number",
    ",AgeDB/1_MariaCallas_31_f.jpg,train": "age is '', not a finite number",
    "7,AgeDB/none.jpg,train": "there is no file 'AgeDB/none.jpg'",
    "7,AgeDB/cut.jpg,train": "the image 'AgeDB/cut.jpg' is broken",
    "7,../outside.jpg,train": "there is no file '../outside.jpg'",
    "7,AgeDB/1_MariaCallas_31_f.jpg,training": "split is 'training', not train, val or test",
    "7": "split is None, not train, val or test",
}


@pytest.mark.parametrize(("row", "reason"), BAD.items())
def test_a_bad_row_is_refused_or_left_out(faces, row, reason):
    cut = (faces / AGEDB[0][1]).read_bytes()[:100]
    (faces / "AgeDB" / "cut.jpg").write_bytes(cut)
    more(faces, row)
    with pytest.raises(ValueError, match=f"are bad .line 7: {reason}"):
        agedb(root=faces)
    with pytest.warns(UserWarning, match="left out: 1 of") as warned:
        train = agedb(root=faces, on_bad="skip").train
    assert train.targets.tolist() == [31, 8] and warned[0].filename == __file__


@pytest.mark.parametrize("bad", ["old_1_2_3.jpg", "121_0_0_1.jpg", "x.jpg", "1234_0_0_1.png"])
def test_a_name_without_an_age(utk, bad):
    draw(utk / "UTKFace" / bad, 5)
    with pytest.raises(ValueError, match=f"1 of 41 pictures in .*UTKFace are bad .{bad}: the name"):
        utkface(root=utk)
    with pytest.warns(UserWarning, match="left out: 1 of 41"):
        assert sum(map(len, utkface(root=utk, on_bad="skip"))) == 40


def test_a_broken_face(utk):
    (utk / "UTKFace" / "9_0_0_9.jpg").write_text("no image")
    with pytest.raises(ValueError, match="the image '9_0_0_9.jpg' is broken"):
        utkface(root=utk)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("agedb", r"AgeDB is not there: the file AgeDB/agedb\.csv belongs in the folder .*empty"),
        ("imdb_wiki", "IMDB-WIKI is not there: the file IMDB-WIKI/imdb_wiki.csv belongs in"),
        ("utkface", "UTKFace is not there: its pictures, such as .* belong in the folder .*empty"),
    ],
)
def test_missing_files_say_what_belongs_where(tmp_path, name, wanted, monkeypatch):
    with pytest.raises(MissingData, match=f"{wanted}.*MINILEARN_DATA$") as caught:
        load(name, root=tmp_path / "empty")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path / "empty"))
    with pytest.raises(MissingData, match=wanted):
        load(name)


def test_tables_that_do_not_fit(faces, utk):
    table = faces / "AgeDB" / "agedb.csv"
    table.write_text("file,age,split\na.jpg,3,train\n")
    with pytest.raises(ValueError, match="has no column 'path'; its columns are 'file', 'age'"):
        agedb(root=faces)
    table.write_text("age,path,split\n")
    with pytest.raises(ValueError, match="has no rows"):
        agedb(root=faces)
    table.write_bytes(b"age,path,split\n3,AgeDB/\xe9.jpg,train\n")
    with pytest.raises(ValueError, match="is no CSV text in UTF-8"):
        agedb(root=faces)
    table.write_text(f"age,path,split\n31,{AGEDB[0][1]},train\n")
    with pytest.raises(ValueError, match="no picture for the part 'test' in .*agedb.csv"):
        agedb(root=faces)
    for path in sorted((utk / "UTKFace").glob("*"))[1:]:
        path.unlink()
    with pytest.raises(ValueError, match="no picture for the part"):
        utkface(root=utk)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"size": 0}, "size must be a whole number of at least 1, got 0"),
        ({"size": None}, "size must be .* got NoneType"),
        ({"held_out": "train"}, "held_out is one of .'val', 'test'., got 'train'"),
        ({"held_out": None}, "held_out is one of"),
        ({"on_bad": "ignore"}, "on_bad is one of"),
        ({"root": 3}, "root must be the path of a folder, got int"),
    ],
)
def test_options_that_make_no_sense(faces, option, sentence):
    with pytest.raises(ValueError, match=sentence):
        agedb(**{"root": faces} | option)


@pytest.mark.parametrize("option", [{"size": 0}, {"on_bad": "ignore"}, {"root": 3}])
def test_options_that_make_no_sense_for_utkface(utk, option):
    with pytest.raises(ValueError, match="must be|is one of"):
        utkface(**{"root": utk} | option)


# ---- the age groups of L2UL


@pytest.mark.parametrize("grouping", AGE_GROUPS)
def test_age_groups_against_a_loop(grouping):
    """Every age from 0 to 120 is in the one group that it lies in."""
    edges, ages = AGE_GROUPS[grouping], torch.arange(121.0)
    found = age_groups(Examples(torch.zeros(121, 1), ages), grouping)
    for age, group in enumerate(found.targets.tolist()):
        last = group == len(edges) - 2
        assert edges[group] <= age < edges[group + 1] or (last and age == edges[-1])
    assert found.task == "classification" and found.classes == len(edges) - 1


@pytest.mark.parametrize("grouping", AGE_GROUPS)
def test_the_left_end_belongs_to_a_group_as_released(grouping):
    """Their group of an age: the one before the first edge above it, which 120 has not."""
    ages = torch.arange(121.0)
    found = age_groups(Examples(torch.zeros(121, 1), ages), grouping).targets.tolist()
    edges = AGE_GROUPS[grouping]
    released = [[i for i, edge in enumerate(edges) if age < edge] for age in range(121)]
    assert found[:120] == [above[0] - 1 for above in released[:120]]
    assert released[120] == [] and found[120] == len(edges) - 2


def test_the_five_groupings_are_the_published_ones():
    assert AGE_GROUPS["balanced"] == (0, 20, 30, 45, 120)
    assert AGE_GROUPS["tens"] == (0, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111, 120)
    assert [len(edges) - 1 for edges in AGE_GROUPS.values()] == [9, 3, 4, 7, 12]


@pytest.mark.parametrize(
    "ages, grouping, sentence",
    [
        (torch.tensor([3.0, 121.0]), "mfd", "run from 3 to 121"),
        (torch.tensor([-1.0, 4.0]), "mfd", "run from -1 to 4"),
        (torch.tensor([3, 4]), "mfd", "one age each, .* got torch.int64 of shape"),
        (torch.zeros(2, 2), "mfd", r"one age each, .* of shape \(2, 2\)"),
        (torch.tensor([3.0, 4.0]), "young", "grouping is one of .'tnn', 'mfd'"),
    ],
)
def test_bad_ages_are_one_sentence(ages, grouping, sentence):
    with pytest.raises(ValueError, match=sentence):
        age_groups(Examples(torch.zeros(2, 1), ages), grouping)
