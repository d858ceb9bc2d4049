"""Where the catalogue lies: a source checkout, an installed package, a user's own folder before them."""

import shutil
import subprocess
import sys
from pathlib import Path

import mist_dse.catalog
from mist_dse.catalog import Catalog, conf_dir

LINK = "kind: scale-up\nbandwidth: 1 GB/s\nlatency: 5 us\nsource: a test\n"


def test_a_source_checkout_uses_the_folder_at_its_root() -> None:
    assert (conf_dir() / "accelerator" / "h100_sxm.yaml").is_file()


def test_an_installed_package_uses_the_folder_inside_it(tmp_path: Path) -> None:
    """A wheel holds ``mist_dse/conf``: it wins over a ``conf`` that happens to lie beside the package."""
    package = Path(mist_dse.catalog.__file__).parent
    shutil.copytree(package, tmp_path / "mist_dse", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(conf_dir(), tmp_path / "mist_dse" / "conf", dirs_exist_ok=True)
    (tmp_path / "conf").mkdir()
    program = "from mist_dse.catalog import conf_dir, load_design; print(conf_dir()); print(load_design('tp4_colocated').name)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str(tmp_path / "mist_dse" / "conf"), "tp4_colocated"]


def test_a_users_folder_comes_first_and_adds_to_the_rest(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "nvlink4.yaml").write_text(LINK)
    (tmp_path / "link" / "mine.yaml").write_text(LINK)
    catalog = Catalog((tmp_path, conf_dir()))
    assert catalog.link("mine").bandwidth == 1e9
    assert catalog.accelerator("h100_sxm").scale_up.bandwidth == 1e9
    assert catalog.link("nvlink5").bandwidth == 900e9
    assert set(catalog.names("link")) == {*Catalog().names("link"), "mine"}


def test_entries_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    path = tmp_path / "link" / "mine.yaml"
    path.write_text(LINK)
    catalog = Catalog((tmp_path,))
    first = catalog.link("mine")
    path.unlink()
    assert catalog.link("mine") is first


def test_one_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "broken.yaml").write_text("bandwidth: [")
    assert Catalog((tmp_path, conf_dir())).link("nvlink4").name == "nvlink4"
