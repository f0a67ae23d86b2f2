"""What Python finds at the top of the package, and the notebook that shows it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_videos import drawn_people_or_random

import rpstn_training

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "predict.ipynb"


def test_short_names_are_the_things_themselves():
    from rpstn_training.video.pipeline import predict
    from rpstn_training.video.streams import PersonStreams

    assert rpstn_training.predict is predict and rpstn_training.PersonStreams is PersonStreams
    for name in rpstn_training._PLACES:
        assert getattr(rpstn_training, name).__name__ == name
        assert name in dir(rpstn_training)
    with pytest.raises(AttributeError, match="no attribute 'prediction'"):
        rpstn_training.prediction  # noqa: B018


def test_they_are_loaded_when_they_are_asked_for():
    code = "import sys, rpstn_training; rpstn_training.UserError; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    """Cell after cell in one namespace, as a kernel does it."""
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    drawn_people_or_random(tmp_path, monkeypatch)
    plt.switch_backend("agg")
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "40 frames, persons (0,), 13 joints" in printed and "PathFileType\t4\t(X/Y/Z)" in printed
    assert printed.splitlines()[-1].startswith("1.20 s [[")
    assert (tmp_path / "joints" / "mot_filtered" / "person0.mot").is_file()
    assert len(names["axes"].lines) == 4
