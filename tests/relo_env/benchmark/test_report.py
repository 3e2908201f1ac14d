"""The report: what is in the page, and that it works in a browser."""

import re
import shutil
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from relo_env.benchmark.evaluation import evaluate
from relo_env.benchmark.plots import (
    attribute_radar,
    colour,
    curve_plot,
    learning_curves,
    line_style,
    report_plots,
    save,
    to_svg,
    write_plots,
)
from relo_env.benchmark.report import write_report
from relo_env.benchmark.runner import run
from relo_env.benchmark.trackers import make_tracker_factory
from relo_env.datasets.base import Sequence
from relo_env.errors import DataError
from tests.relo_env.benchmark.webdriver import Browser
from tests.toys import Squares, square_video

ATTRIBUTES = ("fast_motion", "occlusion", "scale_variation", "blur")


class Marked(Squares):
    """Seven videos; each lacks one of the attributes."""

    name = "Marked"

    def __init__(self) -> None:
        super().__init__(count=0)
        for i in range(7):
            video = square_video(f"square-{i}", length=40 + i, seed=i, absent=(12,))
            marks = tuple(name for j, name in enumerate(ATTRIBUTES) if (i + j) % 4)
            self.videos[video.name] = Sequence(
                video.name, video.frames, video.boxes, video.visible, marks
            )


@pytest.fixture(scope="module")
def dataset():
    return Marked()


@pytest.fixture(scope="module")
def evaluations(dataset, tmp_path_factory):
    """An exact tracker, a static one and one that is lost from frame 10 to frame 24."""
    out = tmp_path_factory.mktemp("results")
    exact = make_tracker_factory(
        "tests.relo_env.benchmark.toy_trackers:Brightest", name="exact <b>"
    )
    folders = [
        run(factory, dataset, out, keep_score_maps=True, progress=False).folder
        for factory in (exact, make_tracker_factory("static"))
    ]
    lost = out / "lost" / "Marked"
    lost.mkdir(parents=True)
    for name in dataset.names:
        boxes = dataset[name].boxes.copy()
        boxes[10:25] += 500
        np.savetxt(lost / f"{name}.txt", boxes, delimiter="\t")
    return [evaluate(folder, dataset) for folder in (*folders, lost)]


@pytest.fixture(scope="module")
def page(evaluations, dataset, tmp_path_factory):
    return write_report(evaluations, dataset, tmp_path_factory.mktemp("report"))


class TestPlots:
    def test_curves_name_the_trackers_and_their_figures(self, evaluations):
        svg = to_svg(curve_plot(evaluations, "success"))
        assert svg.startswith("<svg")
        assert "static [" in svg
        assert "currentColor" in svg

    def test_the_radar_needs_three_attributes(self, evaluations, tmp_path):
        svg = to_svg(attribute_radar(evaluations, "success_auc"))
        assert all(name.replace("_", " ") in svg for name in ATTRIBUTES)
        folder = run(make_tracker_factory("static"), Squares(), tmp_path, progress=False).folder
        assert attribute_radar([evaluate(folder, Squares())], "success_auc") is None

    def test_the_radar_shows_what_all_trackers_have(self, evaluations, dataset):
        few = [name for name in dataset.names if "blur" not in dataset[name].attributes]
        part = evaluate(evaluations[1].folder, dataset, sequences=few)
        svg = to_svg(attribute_radar([evaluations[0], part], "success_auc"))
        assert "occlusion" in svg
        assert "blur" not in svg

    def test_learning_curves(self, tmp_path):
        steps = np.arange(5)
        runs = {
            "one": (steps, steps / 5),
            "three": (steps, np.random.default_rng(0).random((3, 5))),
        }
        figure = learning_curves(runs, x_label="steps", y_label="clip_auc")
        assert isinstance(figure, Figure)
        save(figure, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").stat().st_size > 1000

    def test_the_legend_has_the_best_first(self, evaluations):
        figure = curve_plot([evaluations[1], evaluations[0]], "success")
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert [label.split(" [")[0] for label in labels] == ["exact <b>", "static"]

    def test_a_letter_that_the_font_lacks_is_no_warning(self, tmp_path):
        runs = {"\u8ffd": (np.arange(3), np.arange(3))}
        figure = learning_curves(runs, x_label="frames", y_label="AUC")
        assert "\u8ffd" in to_svg(figure)
        save(figure, tmp_path / "plot.pdf")

    def test_twenty_trackers_are_told_apart(self):
        assert len({(colour(k), line_style(k)) for k in range(20)}) == 20

    @pytest.mark.parametrize(
        ("curve", "protocol", "figure"),
        [
            ("normalised precision", "clean", "P_norm"),
            ("normalised precision", "trackingnet", "TN_norm_precision"),
            ("success", "trackingnet", "TN_success"),
        ],
    )
    def test_legends_have_the_figure_of_the_protocol(
        self, evaluations, dataset, curve, protocol, figure
    ):
        static = evaluate(evaluations[1].folder, dataset, protocol=protocol)
        plot = curve_plot([static], curve)
        (label,) = (text.get_text() for text in plot.legends[0].get_texts())
        assert label == f"static [{100 * static.mean(figure):.1f}]"

    def test_plots_as_files(self, evaluations, tmp_path):
        plots = report_plots(evaluations)
        pictures = {name: to_svg(plot) for name, plot in plots.items()}
        files = write_plots(plots, pictures, tmp_path / "plots")
        assert sorted(path.name for path in files) == sorted(
            f"{name.replace(' ', '-')}.{suffix}" for name in plots for suffix in ("pdf", "svg")
        )
        assert list(plots) == ["success", "precision", "normalised precision", "attributes"]
        for path in files:
            content = path.read_bytes()
            assert content.startswith(b"%PDF" if path.suffix == ".pdf" else b"<svg")
            assert b"currentColor" not in content

    def test_equal_figures_give_equal_pictures(self, evaluations):
        one, two = (to_svg(curve_plot(evaluations, "precision")) for _ in range(2))
        assert one == two


def test_means_by_attribute(evaluations):
    exact, static, _ = evaluations
    figures = dict(zip(static.sequences, static.figures["AO"], strict=True))
    without_first = [figures[f"square-{i}"] for i in (1, 2, 3, 5, 6)]
    assert static.by_attribute("AO")["fast_motion"] == pytest.approx(np.mean(without_first))
    assert list(exact.by_attribute("AO")) == sorted(ATTRIBUTES)


def test_the_page_stands_alone(page):
    text = page.read_text()
    assert list(page.parent.iterdir()) == [page]
    links = re.findall(r'(?:src|href)="([^"#][^"]{0,40})', text)
    assert links
    assert all(link.startswith("data:") for link in links)
    assert text.count("data:image/jpeg") == 9


def test_names_are_escaped(page):
    text = page.read_text()
    assert "exact &lt;b&gt;" in text
    assert "exact <b>" not in text


def test_the_same_results_give_the_same_page(page, evaluations, dataset, tmp_path):
    assert write_report(evaluations, dataset, tmp_path).read_bytes() == page.read_bytes()


def test_only_the_clips_of_the_page_are_made(evaluations, dataset, tmp_path):
    """Each reads 32 frames at most; seven recoveries are found, and three are shown."""
    videos = [dataset[name].frames for name in dataset.names]
    before = sum(len(video.reads) for video in videos)
    write_report(evaluations, dataset, tmp_path)
    assert sum(len(video.reads) for video in videos) - before <= 9 * 32
    reads = sum(len(video.reads) for video in videos)
    text = write_report(evaluations, dataset, tmp_path, clips=False).read_text()
    assert sum(len(video.reads) for video in videos) == reads
    assert "data:image/jpeg" not in text
    assert text.count('<section id="clips">') == 0


def test_frames_that_cannot_be_read_cost_their_clips_only(evaluations, tmp_path):
    broken = Marked()
    for name in broken.names:
        broken.videos[name].frames.broken = frozenset(range(50))
    text = write_report(evaluations, broken, tmp_path).read_text()
    assert "Some clips are missing: frame 0 of a toy video is broken" in text


def test_the_page_tells_differences_and_notes(evaluations, dataset, tmp_path):
    noted = replace(evaluations[1], notes=("a pixel less",))
    text = write_report([evaluations[0], noted], dataset, tmp_path, clips=False).read_text()
    assert "static: a pixel less." in text
    assert "Differences of success_auc to the best" in text


def test_only_like_is_compared(evaluations, dataset, tmp_path):
    other = evaluate(evaluations[0].folder, dataset, protocol="dev")
    with pytest.raises(DataError, match="one data set and one protocol"):
        write_report([evaluations[0], other], dataset, tmp_path)


@pytest.fixture(scope="module")
def browser():
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("needs chromedriver and chromium (apt-get install chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Browser(driver, port) as browser:
        yield browser


class TestInABrowser:
    @pytest.fixture(autouse=True)
    def _open(self, browser, page):
        browser.open(page)

    def test_it_opens_without_complaints_and_fits_a_phone(self, browser):
        assert browser.console() == []
        assert browser.run("return innerWidth") == 390
        assert browser.run("return document.querySelectorAll('#plots svg').length") == 4
        assert browser.run(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )

    def test_tables_sort_both_ways(self, browser):
        column = """
            const table = document.querySelector('#sequences table');
            const read = () => [...table.tBodies[0].rows].map(row => row.cells[1].textContent);
            const button = table.tHead.querySelectorAll('button')[1];
            button.click(); const down = read();
            button.click(); return [down, read()];
        """
        down, up = browser.run(column)
        assert up == [str(40 + i) for i in range(7)]
        assert down == up[::-1]

    def test_clips_play(self, browser):
        state = """
            const clip = document.querySelector('.clip'), canvas = clip.querySelector('canvas');
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return [clip.querySelector('output').textContent, pixels.data.join().length,
                    pixels.data.some((value, i) => i % 4 < 3 && value > 0)];
        """
        time.sleep(0.5)
        before = browser.run(state)
        assert before[2], "a picture is shown before anything is clicked"
        assert re.match(r"frame \d+: (exact <b> 1.00, static \d\.\d\d|target absent)", before[0])
        browser.run("document.querySelector('.clip button').click()")
        time.sleep(1)
        assert browser.run(state)[0] != before[0]

    def test_failures_are_found(self, browser):
        rows = browser.run(
            "return [...document.querySelectorAll('#failures tbody tr')].map(r => r.textContent)"
        )
        recovered = [row.split() for row in rows if row.split()[0] == "lost"]
        assert sorted(row[1] for row in recovered) == [f"square-{i}" for i in range(7)]
        assert all(row[2:] == ["10", "15", "at", "frame", "25"] for row in recovered)
