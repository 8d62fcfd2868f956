"""Damaged Parquet files that a fuzzer found: Arrow raised what nobody expected, or
ended the process.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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
    "facts of a column that contradict each other": (
        "c-"
        "mEwO;5r=5Qe9l+MppuNT%6M_Rvck4+Vt;4n_~N#3~UY)PwOz2&o>FQiKwIqd&^s1wVKXGqbbL%$w|vC~cvOCwMwQhHf3;=*$6t4F"
        "cBDk4+Oj^kf&#oeg(3wVJ*?4w#P2aTp*IaR<1!oW9Q9C#W0M(BlxoKx)KiLJApy#Ht8gPjJoq%rE?H)Q&3umx@>$xn>@0y4Itfh`"
        "<<Wo<$XZ3qtZLrRn4I)y|H8ITuD9G8)rP4@4!Yj1r=ZdYSDhMRaS5^+@xjMU@H3zPcmo6TOfsX=u*L-#(?%@efY-"
        "2UZ8_8$Yr>HV;kc*_@fZ{a^Bl_S|^C)#?U#kWY%mYWCTf=6PdM6!S7z&x+;S{3B?0o0rX&kmgxe`in;T=e_}2rCK`"
    ),
    "an index that counts in steps of 0": (
        "c-p;J?`zve7}mU!bx=wvDA<q>#;~wLno5eDRAv1jIgu?daTBMLER_;;l5EM*uSzG|O2~h*e`C-"
        "O`_~4$JK2t7TU`s=1eWgJ_r3Rd?z#8w@VU@q=|?n0KR-"
        "n;>N!RI{Ku=ms?>KB>d{Z>>K<L9pV3?N)($oE{lHUHi6TGxQDv_|mA4Ypv3-"
        "LsQFQ62Qu%w!$h<#M#CEB&Q`y<2cIZ;2L2W&&5EuPqyR?124R;TBAHUcm;3W+941Ioiu~pf{$te_3+I_qYsmfk?D>4GhNXnmoysf"
        "!`Wlyin&`bRwslBOwxUF3y8)_ZxRcnFa+o)L!YN(SyBZjEQkaifMCd-kwjoZwA<L)Es=DDs&VtbZymM2I(4@C@I+q147+Hy))FpC"
        "Ia8n|X?*%&rR{U}>F5*TBnZ$rZ}pn*)cH9J7DZZO3D-`-"
        "0vU)S!Im^`FVGis|0a?=WdffpL^u)a=U$+1KN&*E;cdJhBEVZa8M5R7aSe$6!35X^N1^FNpfs<3sSnepG7Oc1Vv<hB(I5Qg45!rb"
        "~L2vXK-Aam;qjA=l77{;z?Y(R4Z_<F4fQOMPN6e)YWHNx1kV;k?Lf#D_g-"
        "2*}s#}3vB&8;hh5RMI9f5VQLdk*U#(&XbmsW5Ru&)$SOGq1p+scxzrIVh+cyzLAKV;7{5sBn9SH)3oXFpP;#o(p0l&Ty6}GvYX$;"
        "5=hHPTVlSR_<`0*=K8a_hgow2m37cQROE>ulG)Ulb@93&re_BhZ7`05H5uL`Bf0=f;hysq0k%>n<zf;Pw@9-"
        ";XlW1@|#5wzl^^k`Qo5sS;UF3=X8i-#Ut7GQoW_r`&@Sn+6n~0nfuNaft__?Lv38kqj1>GCPUe8I6(ak`2-"
        "iZaw0c7H&#o^tfqV@9}BZSKf&>5@8^Cc?>Fo0Kw+?L1h^>+)W!hk*87fUW@x+wkM8q}sijVn)286+zUP5fZvcD=>X#_4)nGwug7Z"
        "u?G+yg>2Ugpg5MQ&y0^dXVd!FnPzAWgAjs8KeVYYJK=0PvZeXNJLqwzfl^Fwp>fZrYKEu=+8aw*D*2H!P1{0i?I9IqZE?t)XZ<K#"
        "K@NLQ!VeePZ-"
        "?NTn{>Vp>VSjQSu#8vmFW37L|b(<sy)Dc&`B{AAUhbe#B6pxnIMa$R4H&i9jB|g<u*28>dUv{ycW=leAE!`~R0Iu^%SG&x&Y6b!&"
        "0d1sB`+*jtLM^iYR}18C6mePj0?`3}&oNn^vHRjoE8aDHWn|@8s216Ytt|P2E@Qf1&ja|c-Ho-"
        "3a)V+`(7NzRksg}QkHI%+VQ{Ffn?<z&Bj8^Y)`!MPjILT^6YVWcosc-"
        "R_Rws5%X}jcT+|Ep7S?dElqcWw$Ak~+_dL^A$T_3?QetunKe(KbaSM)t73yleNXG-CrKH8{*>li2#27eNQGFr(kd6`3i|a~|HCZN"
        "~r>ZcTipQTU&ZSM<(AnS>)tbdQV}Njq^hM_&(;ZzD>DocMezETRml#)Ktac~T0tL;3oZm+SV((_UDly<dCN|lhqL_|j2G{xCZhNT"
        "R8C!WBa(cgWW2k&e<~5SJ(~*##U3U0~+;z_kx)I>&B*$4+pPr6R+(CXbweV{mJHKiqA#X|K9?}GHBAm@Gulao@3O(}Gg!!QSImR!"
        "%Uva27zu(C7_AOPeMn?Q8wc$%Mie8cnxjMUWtNB%2*}?x+et$wy=jh+f-?F+3!T"
    ),
    "a page that says it is 1.4 GB long": (
        "c-rk)&2QUA7N-=&b&}R_(xo9`b1(#i*kavSlx(Lex(7<OD5{ogD~>2BYZ&~pM42L0iIOY_#`e&o5B&pj=&{Efd&r@O{s-"
        "N|9((9v5d_6z(c5OxeQ!v8*c6qzO|adq2jXzP-uwODn>WK5ZF2>d4$<@U{3acwL$@gEM<@M-rs!MrttD)wXXu&R;n_jYsI)-"
        "+VM6Q8n-"
        "oO_@d*Ti)LHET%1K`BgPu_dwR>AV+CkSQWT+ipbM!yIdG_yT|9bW#Xk7~q#!@(PkzO3|7)!z38{c{P%%30OZ2^8iVbn|c&W%vV*b"
        "aLrhfg2?KR_h!ah?C;v-f|(o$}RA4fVK%Pf)wJ)ua6~T7S-rPvLuJHwZ=^uTtTewo=m?5<L$RcY@)7<i2H!zK(ANRV>oM@D)|+-"
        "?>izj^14QGv+weK^PG<E#oPfcc_F8byIaTgnBj2bc$DdHOtVbg-"
        "~QEa>`J*=}_cOXeI(+G_??1cp88ov%<_?%<9MzSQVm!XeGWrcxNWU5bMSv<S~eU1emV_7Yq04AlF?Gg@EiX>@tt9FrQpOKTi}yIU"
        "+dc2%=Ak=qdh~&qB;!ue{n&p3Xn$(10l<EVdW6nHN`?Z?C>Hl{^)>Gebq3xgHw+Waa};%tvlxF#1gm36QbbdGZGH=^L*h1f1v_1A"
        "0Eod^P*3!eHTtYYRbU7G9KpY=3c`d2#J^NB4I(m@jX<zUX#9K7Wh(;mwQf>C-_buY~7w%#*qQ@=EyIJo9w^XRL(No4<4=oZe!-"
        "z4>}q0uuf5ZRYXY)AuSTx?fx);k^`|X-"
        "cLlwZq@fKZ=6M+R?sZ8J&jNj=sP6@KF@q0HtV4GOJp2X)$U_4GkMith8;ZWkW4S%2pGKY@C!eQa;&(ilc9zDA!!It`@Un7%<{M*9"
        ">*vZF>~OArIM@llJyb5Vg~2_V?|6lVG>)7NR#aTT&%kB0`#}SgLMTp%OnC!#xWam7?eIoF>N$LxcmvlI*pWs0VtiV+<bc0GcBh*$"
        "X32fU)Gdrr6P+V4w#<@ggX{$PjfR46I=<klXm`j4>@Qh|_isL$)l#i!f-N20;SZ12Skm2ct-"
        "~R<&BXB27TkP5V7h_`#6<ffNaHTn1K4)mj>^p99HgYbR$2;RfL)G-"
        "y3X2yir8Z)jdNgPygOhn@D`%e+8#i%F<%^Ep^BbyDmIrq2=}%dVwKw$&nw_))a0wc5I6qEvkCZtN}_J=xnE0gbvJUZ&q%iYD%|5D"
        "|Nq={J{7sPLOyq41ITzH?a(KmYwQrg-&3j^lPXCqa3IOI5iH$5pv>m9(W&XZm~i-Wc}hdV*6QXu&MaCA-VZ2VB*yr#flKwSKNCHw"
        "uQ9N!I1~5i5(U$3oqziix%^#f?rSEvyOYT)!-?nw9%P8_J!s$Qn3CXsqa)X--"
        "!Xg_>gS=pX4^&#iYAlw05EyLH2<XOgA+J&@b#%GshV8%YP7FAg!~M#cu5HGyAcWxj`a4M{AvE1BdFSL+Lam6FBdjb478BTuQwCJ{"
        "?Ei?)(A4%DpCBYM)gV>K%fp0ZesmBm6$<u_3Np3o?E%JJl(1h%2xyvd&BXXXhG_-"
        "M@L4Wg^kFbtV591QuUb2UK+Su<4wn`#Q1jA^BmD^qF9@l0&1zN7naY{-"
        "1FrmmM`L`Q=)R6cW9E){Ah598Z%Hr5uhWBy6!bZ2a(SrLy8OYzm3EIz<F(91fRryk51=-"
        "3*^>6RN!qnz;N;peN4Dju~Dz&B@ok@xdO{gwMdoazg(^U#mWuutJLoeG~hE+q=93h($zj^{qEh+8fe#9S%0I^GYl+rPk^bmYD;F="
        "jz`*WV|(t{m_A`2#p6+ZW)_f_Ogkiw$>8`^85cbQ_g;vM-"
        "5SHQ5;lbI<m);y7QUqpnwd))e@#m>kpNtnEDElk8XcV!tBdUXf~)#iQd&3D+%=8*)_RHAB{Y{Aj9HMO^WnPpHQ#r9u;R`S=t42Yx"
        "i{%5FI(CW^-;XJ4~Hu7>jE;r??piCb6ZANa*uLgJHccb}Z(-"
        "==Kt#JBwXdWe3Vwg<2(;+7LR1KPWa4mvY7?oaVbDR(T1$qvy|7vh_Bu9Lr?OO}eUvs@a*z7jXOvMVdHm(S(%>wAQH9^!Z9NHACxz"
        "U`OK<@2k14&WG_!sB$-"
        "{igTulnsfm!ttE5@R+@f^*lL$m$4{gwqE51=kxydz2#**zV8U+q|T2H?ao0Ti&@ozv$=uw?qED#2O$0NW%8UO58q5uzjsdl!|i2P"
        "zU(j0+i*^I+7dXPU5D&FG$BQdNR8}ql0fbka*xPwxc7|}yxNev%Mlr*4D~x{9W(g;uHrpreQ=-"
        "QhOWaq5!V{>B~Ep%81W@VK9A}o7cb3i?GE_fpUfAFDV^iWh{xl5tmgsp0FkVF&)ON0-"
        "bg$8dXx0k2z8i!BHtrUanb{l|A`7OHl^0b9nF4MX*S=LS}m)$=>8eB==@O>IlWC$6Mxj-A=~B(?0*1D7E?|"
    ),
    "rows without end, and no column": (
        "c-jka3^EjDl9VxJkYFoL&PdHo6lGu#V~{)}$s-1&)qt1*oym+<lom`G2_DCwApdYHh|?r|^g*D?5d;DqA;8<wvE0!q-"
        "O<g_G2PKQ9W3VL<ml)NVmLcGdV&QIGz{1>NGKE}78RDJmgpuI6zC=v73G&Jl%*CGXXfWA7@6rA=ow1#Fvv18Fa!Vt2>_+<F`f"
    ),
}


@pytest.fixture(params=FILES, ids=str)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "table.parquet"
    file.write_bytes(zlib.decompress(base64.b85decode(FILES[request.param])))
    return file


_READ = """
import resource
import sys
import permgrad as pg
from permgrad.data.partitions import open_partitioned

def in_parts(path):
    table = open_partitioned(path, rows_per_part=5)
    next(table.batches(table.parts[0], 3))
    table.check_cells(table.columns, "leave it out")
    table.read_all()

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for read in (pg.read_table, in_parts):
    try:
        read(sys.argv[1])
    except pg.InputError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_they_are_refused(damaged: Path) -> None:
    """In a process of its own: one of them ended it."""
    process_result = subprocess.run(
        [sys.executable, "-c", _READ, str(damaged)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process_result.returncode == 0, process_result.stderr[-2000:]
    *lines, kibibytes = process_result.stdout.splitlines()
    assert len(lines) == 2
    assert int(kibibytes) < 512 * 1024
    facts = ("is cut off, damaged or no Parquet file.", "has no columns.")
    assert all(any(fact in line for fact in facts) for line in lines), lines


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What is refused above is read where it is whole: text beyond ASCII, categories,
    several row groups.
    """
    file = tmp_path / "table.parquet"
    frame = pd.DataFrame(
        {
            "who": ["Zoë", "李", None] * 3,
            "kind": pd.Categorical(["ä", "b", "ä"] * 3),
            "n": range(9),
        }
    )
    frame.to_parquet(file, row_group_size=4)
    assert pg.read_table(file)["who"].tolist()[:2] == ["Zoë", "李"]
    table = open_partitioned(file, rows_per_part=4)
    assert len(table.parts) == 3
    assert table.read_all()["kind"].tolist() == frame["kind"].tolist()


def _with_notes(file: Path, frame: pd.DataFrame, **changed: Any) -> None:
    """Write a frame as pandas does, with other notes of its own."""
    arrow_table = pa.Table.from_pandas(frame)
    notes = {**json.loads(arrow_table.schema.metadata[b"pandas"]), **changed}
    pq.write_table(
        arrow_table.replace_schema_metadata({b"pandas": json.dumps(notes).encode()}),
        file,
    )


@pytest.mark.parametrize("name", ["(1", "(" * 5000, "__import__('os').abort()"])
def test_names_that_are_said_to_be_tuples_are_names(tmp_path: Path, name: str) -> None:
    """Notes of two levels of columns: Arrow would parse the names, as literals."""
    levels = pa.Table.from_pandas(
        pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    )
    two = json.loads(levels.schema.metadata[b"pandas"])["column_indexes"]
    assert len(two) == 2
    file = tmp_path / "table.parquet"
    _with_notes(
        file, pd.DataFrame({f"{name}, 'b')": [1], "y": [2]}), column_indexes=two
    )
    with pytest.raises((SyntaxError, ValueError, RecursionError, MemoryError)):
        pq.read_table(file).to_pandas()
    for read in (pg.read_table, lambda path: open_partitioned(path).read_all()):
        assert read(file).columns.tolist() == [f"{name}, 'b')", "y"]


@pytest.mark.parametrize(
    "own",
    [("a", "b"), 1.5, b"x", pd.Timestamp("2020-01-01")],
    ids=lambda own: type(own).__name__,
)
def test_names_of_any_type_are_the_same_in_parts_and_as_a_whole(
    tmp_path: Path, own: Any
) -> None:
    file = tmp_path / "table.parquet"
    columns = (
        pd.MultiIndex.from_tuples([own]) if isinstance(own, tuple) else pd.Index([own])
    )
    pd.DataFrame([[1]], columns=columns).to_parquet(file)
    stored = pq.read_schema(file).names
    for read in (pg.read_table, lambda path: open_partitioned(path).read_all()):
        assert read(file).columns.tolist() == stored


@pytest.mark.parametrize("notes", [[3], "x", None, [{"name": [1]}], [{}, {}]])
def test_notes_of_names_are_passed_over(tmp_path: Path, notes: Any) -> None:
    """Names are those that the file stores, whatever else is said of them."""
    file = tmp_path / "table.parquet"
    _with_notes(file, pd.DataFrame({"1": [5, 6]}), column_indexes=notes)
    for read in (pg.read_table, lambda path: open_partitioned(path).read_all()):
        assert read(file).to_dict("list") == {"1": [5, 6]}


def test_attributes_of_a_frame_are_left_out_however_deep(tmp_path: Path) -> None:
    """Pandas copies them with every column that is taken."""
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]
    file = tmp_path / "table.parquet"
    _with_notes(file, pd.DataFrame({"x": [True, False]}), attributes={"mine": deep})
    frame_read = pq.read_table(file).to_pandas()
    if frame_read.attrs:  # older Arrow leaves them out itself
        with pytest.raises(RecursionError):
            _ = frame_read["x"]
    for read in (pg.read_table, lambda path: open_partitioned(path).read_all()):
        frame = read(file)
        assert frame["x"].tolist() == [True, False]
        assert frame.attrs == {}
