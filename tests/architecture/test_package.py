"""What a fresh installation promises: a light import, a short list of public names, configuration inside the wheel."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import mist_dse

ROOT = Path(__file__).parents[2]
HEAVY = ("optuna", "plotly", "dask", "hydra", "joblib", "rich")


def test_import_is_light() -> None:
    program = f"import sys, mist_dse; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_takes_less_than_300_ms() -> None:
    program = "import time; start = time.perf_counter(); import mist_dse; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.3


def test_public_names_are_few_and_all_there() -> None:
    assert len(mist_dse.__all__) <= 25
    assert [name for name in mist_dse.__all__ if not hasattr(mist_dse, name)] == []


def test_the_wheel_holds_code_data_and_conf(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, capture_output=True, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    sizes = {item.filename: item.file_size for item in zipfile.ZipFile(wheel).infolist()}
    package, conf = ROOT / "mist_dse", ROOT / "conf"
    files = [path for folder in (package, conf) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {f"mist_dse/{path.relative_to(package if package in path.parents else ROOT).as_posix()}" for path in files}
    assert {"mist_dse/data/operators.csv", "mist_dse/conf/benchmark/inferencex.yaml", "mist_dse/py.typed"} <= wanted
    assert wanted - set(sizes) == set()
    fitted = {name: size for name, size in sizes.items() if name.startswith("mist_dse/data/") and "/workloads/" not in name}
    assert sum(fitted.values()) <= 4e6, fitted  # what is derived from measurements stays compact


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_papers_are_there(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > 3


def test_the_lock_holds_every_dependency_and_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    names = {item.split(">")[0].split("<")[0].split("=")[0].strip().lower() for item in wanted}
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    locked = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert names - locked == set()
    assert "://" not in text
