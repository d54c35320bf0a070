"""Stand-ins for the CUDA libraries that PyPI's torch links and a machine without a GPU never calls.

They would be two gigabytes of the image. Python loads extension modules with RTLD_NOW, so every symbol must exist; each of
these aborts if it is called after all. CUDA's run-time and profiling libraries stay real: torch calls them on import.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

REAL = ("libcuda.so.1", "libcudart.so.13", "libcupti.so.13")
HOLDER = "libnvshmem_host.so.3"  # one library carries all symbols, the others only have to exist
SYMBOL = re.compile(r"(cu|nv|nccl)[A-Za-z]")
LIBRARY = re.compile(r"NEEDED.*\[(lib(?:cu|nv|nccl)[^\]]*)\]")


def make_stubs(site_packages: Path) -> None:
    """Put the stubs beside torch's own libraries, where its run path finds them. Needs gcc and readelf."""
    libraries = site_packages / "torch" / "lib"
    linked = sorted(libraries.glob("*.so"))
    real = site_packages / "nvidia" / "cu13" / "lib"
    there = {name for library in REAL if (real / library).exists() for name, defined in _symbols(real / library) if defined}
    missing = sorted({name for library in linked for name, defined in _symbols(library) if not defined and SYMBOL.match(name)} - there)
    needed = {name for library in linked for name in LIBRARY.findall(_readelf("-d", library))} - set(REAL)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "stubs.c"
        source.write_text("#include <stdlib.h>\n" + "".join(f"void {name}(void) {{ abort(); }}\n" for name in missing))
        for name in sorted(needed):
            code = str(source) if name == HOLDER else "/dev/null"
            command = ["gcc", "-w", "-shared", "-fPIC", "-o", str(libraries / name), f"-Wl,-soname,{name}", "-x", "c", code]
            subprocess.run(command, check=True)


def _symbols(library: Path) -> Iterator[tuple[str, bool]]:
    """Yield each dynamic symbol's bare name and whether the library defines it."""
    for line in _readelf("--dyn-syms", library).splitlines():
        columns = line.split()
        if len(columns) >= 8 and columns[0].rstrip(":").isdigit():
            yield columns[7].split("@")[0], columns[6] != "UND"


def _readelf(option: str, library: Path) -> str:
    return subprocess.run(["readelf", "-W", option, str(library)], capture_output=True, text=True, check=True).stdout
