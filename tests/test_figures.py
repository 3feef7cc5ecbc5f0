import threading
import time
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sklearn import metrics

from pipelines import course, drawing, figures
from pipelines.course import draw_training
from pipelines.drawing import short_names
from pipelines.figures import draw_report
from pipelines.predictions import Predictions, softmax
from pipelines.scores import score

FILES = ["confusion_matrix.png", "roc_curve.png", "pr_curve.png", "calibration_curve.png", "confidence.png"]
HARD_NAMES = ("$x$ and $y", "负面", "_" * 60, "line\nbreak", "😀")


def drawn(classes, rows, names=None, labels=None):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, rows) if labels is None else np.array(labels)
    return Predictions(
        ids=[str(row) for row in range(rows)],
        texts=["text"] * rows,
        labels=labels,
        probabilities=softmax(rng.normal(size=(rows, classes)) + 3 * np.eye(classes)[labels]),
        names=names or tuple(f"class number {index}" for index in range(classes)),
    )


CASES = {
    "binary": drawn(2, 300),
    "hard names": drawn(5, 200, names=HARD_NAMES),
    "thirty classes": drawn(30, 400),
    "sixty classes, many without rows": drawn(60, 50),
    "one row": drawn(3, 1),
    "only one class has rows": drawn(2, 40, labels=[1] * 40),
}


def pixels(path):
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize("case", CASES)
def test_every_report_is_five_whole_pictures_without_a_warning(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = draw_report(CASES[case], tmp_path / "figures")
    assert paths == [tmp_path / "figures" / name for name in FILES]
    for path in paths:
        picture = pixels(path)
        assert 400 <= min(picture.shape) <= max(picture.shape) <= 2500
        assert (picture < 128).any(), "nothing is drawn"
        border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
        assert min(edge.min() for edge in border) == 255, "something is cut at the edge"


def texts_of(figure):
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text)]


def test_headlines_state_the_scores_of_the_same_predictions():
    predictions, scores = CASES["binary"], score(CASES["binary"])
    roc, pr = texts_of(figures._roc_curve(predictions)), texts_of(figures._pr_curve(predictions))
    base = (predictions.labels == 1).mean()
    assert f"{scores['auroc']:.1%} of pairs are ranked the right way round\n " in roc
    assert f"{scores['auroc']:.3f}  class number 1" in roc
    assert f"Average precision is {scores['average_precision']:.3f}, guessing reaches {base:.3f}\n " in pr
    assert f"{scores['average_precision']:.3f}  class number 1" in pr
    calibration = texts_of(figures._calibration_curve(predictions))
    assert f"expected calibration error (ECE) {scores['ece']:.3f}, 15 bins" in calibration
    matrix = texts_of(figures._confusion_matrix(predictions))
    assert f"{scores['accuracy']:.1%} of 300 texts classified correctly\n " in matrix


def test_many_classes_show_their_mean_and_the_ten_weakest():
    predictions = CASES["thirty classes"]
    texts = texts_of(figures._pr_curve(predictions))
    assert f"{score(predictions)['average_precision']:.3f}  mean of 30 classes" in texts
    areas = sorted(
        metrics.average_precision_score(predictions.labels == index, predictions.probabilities[:, index])
        for index in range(30)
    )
    shown = [float(text.split("  ")[0]) for text in texts if "  class number" in text]
    assert shown == pytest.approx(areas[9::-1], abs=0.0006)


def test_confusion_matrix_names_the_worst_mistake_and_counts_each_cell():
    labels = [0] * 6 + [1] * 4
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 3 + [[0.2, 0.8]] * 4)
    predictions = Predictions(["i"] * 10, ["t"] * 10, np.array(labels), probabilities, ("bad", "good"))
    texts = texts_of(figures._confusion_matrix(predictions))
    assert "Most often mistaken: bad for good (3 texts)" in texts
    assert {"3\n50%", "4\n100%"} <= set(texts)


def test_short_names_fit_stay_different_and_hold_no_mathematics():
    names = ["good", "a" * 40 + "1", "b\n\tc", "负面", "$a$", "x" * 50, "x" * 60]
    assert short_names(names) == [
        "good",
        "aaaaaaaaaa…aaaaaaaaa1",
        "b c",
        "class 3",
        r"\$a\$",
        "5: xxxxxxxxxx…xxxxxxxxxx",
        "6: xxxxxxxxxx…xxxxxxxxxx",
    ]


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there are no rows to draw"):
        draw_report(drawn(2, 0), tmp_path)


STEPS = [{"step": i, "loss": 1 / i, "learning_rate": 5e-5 / i} for i in range(1, 60)]
EVALUATIONS = [{"step": 20, "log_loss": 0.5, "accuracy": 0.7}, {"step": 40, "log_loss": 0.4, "accuracy": 0.8}]


@pytest.mark.parametrize(
    ("steps", "evaluations"),
    [
        (STEPS, EVALUATIONS),
        ([], []),
        (STEPS[:1], EVALUATIONS[:1]),
        ([{"step": 1, "loss": float("nan")}, {"step": 2}], [{"step": 2, "log_loss": float("inf")}]),
    ],
    ids=["whole", "empty", "just started", "diverged"],
)
def test_every_course_of_training_is_a_whole_picture_without_a_warning(steps, evaluations, tmp_path):
    path = tmp_path / "training.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_training(steps, evaluations, path)
    assert pixels(path).shape == (616, 1155)


@pytest.fixture
def titles(monkeypatch):
    seen = []
    monkeypatch.setattr(course, "save", lambda figure, path: seen.extend(a.get_title(loc="left") for a in figure.axes))
    return seen


def test_titles_of_the_training_say_what_happened(titles, tmp_path):
    draw_training(STEPS, EVALUATIONS, tmp_path / "training.png")
    last_two = (1 / 58 + 1 / 59) / 2
    assert titles[0] == f"The training loss fell from 1.000 to {last_two:.3f}"
    assert titles[1] == "The best log loss is 0.400, at step 40"


def test_infinite_loss_is_never_the_best(titles, tmp_path):
    draw_training([], [{"step": 1, "log_loss": -float("inf")}, {"step": 2, "log_loss": 0.7}], tmp_path / "t.png")
    assert titles[1] == "The best log loss is 0.700, at step 2"


def test_threads_draw_the_same_pictures_as_one_after_another(tmp_path):
    draw_report(CASES["binary"], tmp_path / "alone")
    threads = [threading.Thread(target=draw_report, args=(CASES["binary"], tmp_path / str(i))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in FILES:
        alone = (tmp_path / "alone" / name).read_bytes()
        assert [(tmp_path / str(i) / name).read_bytes() == alone for i in range(2)] == [True, True], name


def test_report_of_1500_rows_takes_about_a_second(tmp_path):
    predictions = drawn(2, 1500)
    draw_report(predictions, tmp_path)
    before = time.process_time()
    draw_report(predictions, tmp_path)
    # Measured 0.6 s; the rest is room for a slow or busy machine.
    assert time.process_time() - before < 3


def test_drawing_leaves_pyplot_alone():
    import subprocess
    import sys

    code = "import sys, pipelines.drawing as d; d.new_figure(3, 3); print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert isinstance(drawing.new_figure(3, 3), Figure)
