"""Damaged Parquet files that a fuzzer found: Arrow raised what nobody expected, or ended the process."""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import permgrad as pg
from permgrad.data.partitions import open_partitioned

#: What is wrong with each file, and its bytes, compressed.
FILES = {
    "rows that its footer says but that are not there": (
        "c-mD_O>4qH5S=U%Ja|xXLKbq!#n6LVEhweb!>rX-s?_9C3cZL(+CyuMttllxu|KLiYwX9s&dkodd2iWSP}IW`Hn1_%0qOu20"
        "3__T2w2B@3k6ouM%x>}iIuokQmg5%;A2?=uq0c3aP8gdY5lT9U8ppLD~7!$%sdTpg!H5rz#~><AMC2+9_q4_J9%&(l>hR|7Q"
        "cc?K#K~v)YG;MjGD%apzP!zJ-0$pba#Jo&~(47Q?@>_g><l6qKs5b6QY<#v8gFVH0ET#(D=+i6}w51T@y`-9!O<0=lkTBPpK"
        "$8!s+Ip6tM)+RriC;yb&80an5dJV$8hLpPBH83kz0bLva0MnQq_LZ|zl*w3lhR$^88~-92w!{j))*+v!P<fA&*vX`%P`4b-k"
        "&GX"
    ),
    "text that is no UTF-8": (
        "c-nnZ!AiqG5S?8@C{hY7ZpcCoJ=kC&t!be}q&-YZ1hHxii1t`Yse;;?s*!$$pW#RN177stMf?(v&L-L@h(nTj`*z-&3A+J?4"
        "WS7T(5H`90z#r73Xb4J>q55xfTu4JmazJ2hw4^{Y`RVN_2v1=ZIG%YN|~w+>nqu=`2!b=-;RuN5L|XzVCwVH>G)zOG$Jb8WT"
        "W#(st|d?P=UT0!r;=9jtv$`Dw-~-NDyfRMqsbmxvE2*HNn;VDs`&5v{f5Wl6)$GMDf7rvG19E^8c7JwS=Xmu`0<l8Q%C{2Df"
        "vRKw4%V!|>pEEBy)cjcurCO_1Uc)7V9f(VO5l;skri7J44yo&r6@orK6Te!<P<dVfKtYUv;O37J^?_(v=PD!oJ1j7$dT#c3Z"
        "uo5#a2$%CvPF5w_fNB4gDce`MgXT#{~W_(>6&1SV>6iwsu?KqmBO)tyMcHONvq(g_L&g-241a!MT0X9{8Uj"
    ),
    "another type in a row group than in the schema": (
        "c-pN}!AiqG5Zx>x6cw?-30c@fE)5E4wTd1@50hG{+G-6JFJ3|kX%Cv1s`&|j!<(Pwhq$wiRrKP)$7W`jeQ)M1WQb84Oz^<#0"
        "|(P)-@&h!-x)Bl!4BvaEU=`z_LK3u<FJiCu<CWH=rat?fQw*{xz=nvN$z4$ja6lfyGGntf_3Nzw-goI;X(@OGYJ=>VOl~lKs"
        "B8gI{vX=`(KM9P!BiB57X&z(-OY6O&hsiQ;7-bu3!{h-W<&ByKlx8VK+sEE1csTvBWUN6T}od`U=AkaX>`}@l-dyvO<@_sH#"
        "S!Q~Dmw(R0IUGIo2K8I}tXF7)A~nm-`P=bkgYKcjHOTrZD{ho|JRInMKDTohU9JtxI%n%#Rl`>pL(TS%#%{Aw^ZRKLszBm`c"
        "A"
    ),
}


@pytest.fixture(params=FILES, ids=str)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "table.parquet"
    file.write_bytes(zlib.decompress(base64.b85decode(FILES[request.param])))
    return file


_READ = """
import sys
import permgrad as pg
from permgrad.data.partitions import open_partitioned

def in_parts(path):
    table = open_partitioned(path, rows_per_part=5)
    table.first_rows(3)
    table.check_cells(table.columns, "leave it out")
    table.read_all()

for read in (pg.read_table, in_parts):
    try:
        read(sys.argv[1])
    except pg.InputError as error:
        print(error)
"""


def test_they_are_refused(damaged: Path) -> None:
    """In a process of its own: one of them ended it."""
    found = subprocess.run([sys.executable, "-c", _READ, str(damaged)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    lines = found.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("a Parquet file must be complete, however ") for line in lines)


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What is refused above is read where it is whole: text beyond ASCII, categories, several row groups."""
    import pandas as pd

    file = tmp_path / "table.parquet"
    frame = pd.DataFrame({"who": ["Zoë", "李", None] * 3, "kind": pd.Categorical(["ä", "b", "ä"] * 3), "n": range(9)})
    frame.to_parquet(file, row_group_size=4)
    assert pg.read_table(file)["who"].tolist()[:2] == ["Zoë", "李"]
    table = open_partitioned(file, rows_per_part=4)
    assert len(table.parts) == 3
    assert table.read_all()["kind"].tolist() == frame["kind"].tolist()
