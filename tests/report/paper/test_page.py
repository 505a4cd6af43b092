"""The report of all experiments, of what is there."""

import html.parser
import json
import shutil

import matplotlib.figure
import pyarrow.csv
import pyarrow.parquet
import pytest

from nbjax.analysis.leakage import Mean
from nbjax.analysis.uncertainty import Interval
from nbjax.errors import InputError
from nbjax.files import sealing
from nbjax.report.leakage import ROWS, leakage_section
from nbjax.report.paper.page import write_paper
from nbjax.report.sections import SECTION, Picture, Section, read_section, store_section
from nbjax.report.table import Entry, Head, Table
from tests.report.conftest import random_history

CELLS = [("resnet18", "straightforward", 0, 0, rate, 8) for rate in (0.1, 0.2)]


class Page(html.parser.HTMLParser):
    """Headings, links and sources of a page."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.links, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "h2"
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        if self.inside:
            self.headings.append(data)
            self.inside = False


@pytest.fixture
def folder(make_study, tmp_path):
    """One study of two programs, one of them finished; a partition compared; leakage's figure."""
    names = ["a", "b"]
    config = {"momentum": 0.9, "folds": 5, "epochs": 8}
    make_study(lambda record: record.update(programs=names, config=config, chosen=None), test=None, folds=None)
    study = tmp_path / "straightforward"
    (study / "programs" / "a").mkdir(parents=True)
    (tmp_path / "study.json").rename(study / "study.json")
    (tmp_path / "sessions.parquet").unlink()
    pyarrow.parquet.write_table(random_history(CELLS), study / "programs" / "a" / "history.parquet")
    for name in ("partition/heat_map_D.png", "leakage/figures/figure8.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        matplotlib.figure.Figure((1, 1)).savefig(tmp_path / name)
    table = Table(
        "methods", [Head("label", words=True), Head("D")], [[Entry("D | E"), Entry("0.012345", value=0.012345)]]
    )
    pictures = [Picture(tmp_path / "partition/heat_map_D.png", "Figure 4")]
    store_section(Section("Ways", [], pictures, [table]), tmp_path / "partition" / SECTION)
    mean = Mean(4, 0.5, 0.1, Interval(0.4, 0.6), 0.2, 0.25, 1.0)
    summary = {leak: dict.fromkeys(ROWS, mean) for leak in ("none", "exchange")}
    gaps = {("none", "exchange"): Mean(4, 0.0987, 0.1, Interval(-0.1, 0.3), 0.0451, 0.125, 1.0)}
    section = leakage_section(summary, gaps, tmp_path / "leakage/figures/figure8.png")
    store_section(
        section._replace(lines=["Experiment 1 <ends> at 0.9."], notes=["What intervals are over."]),
        tmp_path / "leakage" / SECTION,
    )
    return tmp_path


def test_the_page_shows_what_is_there_in_the_papers_order(folder):
    text = write_paper(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings[:4] == ["The dataset", "The partition", "Leakage, the small network", "Frozen backbones"]
    assert "straightforward is unfinished: 1 of 2 programs." in text
    assert "0.012345" in text
    assert '<td class="text">D | E</td>' in text
    assert "Experiment 1 &lt;ends&gt; at 0.9." in text
    assert "What intervals are over." in text
    assert text.count("0.500 ± 0.100") == 2 * len(ROWS)
    assert "0.099 ± 0.100" in text
    assert "0.045" in text
    assert "Figure 18: " in text
    assert "6 training sessions in 1 study of one dataset" in text


def test_many_seeds_of_the_distribution_make_no_search_look_better(folder):
    write_paper(folder)
    alone = pyarrow.csv.read_csv(folder / "figures/figure_11.csv").to_pylist()
    table = (folder / "figures/table_4.csv").read_text(encoding="utf-8")
    study = folder / "distribution"
    shutil.copytree(folder / "straightforward", study)
    many = random_history([("resnet18", "straightforward", 0, 0, 0.05, 8)], seeds=40)
    pyarrow.parquet.write_table(many, study / "programs" / "a" / "history.parquet")
    write_paper(folder)
    assert pyarrow.csv.read_csv(folder / "figures/figure_11.csv").to_pylist() == alone
    assert (folder / "figures/table_4.csv").read_text(encoding="utf-8") == table
    assert len(pyarrow.csv.read_csv(folder / "figures/figure_18.csv")) == 40


def test_a_program_of_an_earlier_config_is_no_study(folder):
    record = json.loads((folder / "straightforward/study.json").read_text(encoding="utf-8"))
    (folder / "straightforward/study.json").write_text(json.dumps(record | {"programs": ["b"]}), encoding="utf-8")
    text = write_paper(folder).read_text(encoding="utf-8")
    assert "Frozen backbones" not in Page(text).headings


def test_what_a_job_left_damaged_is_named(folder):
    path = folder / "leakage" / SECTION
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("0.500", "0.600"), encoding="utf-8")
    with pytest.raises(InputError, match=r"section\.json is damaged.*run that experiment again, with the same command"):
        write_paper(folder)
    path.write_text(whole, encoding="utf-8")
    (folder / "leakage/figures/figure8.png").unlink()
    with pytest.raises(InputError, match=r"figure8\.png is missing; run that experiment again"):
        write_paper(folder)


def test_a_section_of_another_version_is_refused(folder):
    path = folder / "partition" / SECTION
    content = json.loads(path.read_text(encoding="utf-8"))
    with sealing(path) as temporary:
        temporary.write_text(json.dumps(content | {"grids": []}), encoding="utf-8")
    with pytest.raises(InputError, match="of another version of nbjax"):
        write_paper(folder)


def test_a_section_is_read_as_it_was_stored(folder):
    section = read_section(folder / "leakage" / SECTION)
    assert section.notes == ["What intervals are over."]
    assert section.pictures[0].path == folder / "leakage/figures/figure8.png"
    assert [table.name for table in section.tables] == ["experiments", "gaps"]
    assert section.tables[1].rows[0][2] == Entry("0.099 ± 0.100", "-0.100 to 0.300", 0.0987)


def test_a_damaged_record_is_named(folder):
    (folder / "partition" / "record.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"record\.json: not an experiment's record"):
        write_paper(folder)


def test_the_page_needs_nothing_from_elsewhere(folder):
    for link in Page(write_paper(folder).read_text(encoding="utf-8")).links:
        assert link.startswith("data:") or (folder / link).is_file()


def test_a_folder_without_experiments_is_refused(tmp_path):
    with pytest.raises(InputError, match="no experiment of the paper has finished here"):
        write_paper(tmp_path)
