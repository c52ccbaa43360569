"""Finds the common codecs that a back end cannot decode on this machine, by decoding a clip of each.

    >>> undecodable("pyav")  # doctest: +SKIP
    ('AV1',)

Each clip is a few hundred bytes: two frames of 64 x 64 px. The first is white on the left and black on the right, the
second the other way round. So a decoder that gives wrong frames is found too.
"""

import base64
import tempfile
import zlib
from pathlib import Path

from mvp_data.core.errors import MissingDependencyError, Skip
from mvp_data.video.decode.open import open_video

_SIDE_PX, _EDGE_PX = 64, 4  # near the border between the halves, where ringing is normal


def trial(backend: str) -> dict[str, str]:
    """Decode the clip of each codec with this back end; return the fault of each codec, "" if there is none.

    Raises:
        MissingDependencyError: the back end is not installed.
        OSError: the folder for temporary files cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="mvp-data-") as folder:
        return {codec: _wrong(Path(folder) / name, data, backend) for (codec, name), data in _CLIPS.items()}


def undecodable(backend: str) -> tuple[str, ...]:
    """Return the common codecs whose videos a build with this back end would skip; () if that cannot be checked."""
    try:
        return tuple(codec for codec, wrong in trial(backend).items() if wrong)
    except (MissingDependencyError, OSError):  # the build reports the first itself; the second affects only this check
        return ()


def _wrong(path: Path, data: str, backend: str) -> str:
    path.write_bytes(zlib.decompress(base64.b85decode(data)))
    try:
        with open_video(path, backend=backend) as video:
            images = [frame.image(_SIDE_PX**2).rgb() for frame in video.frames()]
    except Skip as skip:
        return skip.detail
    halves = [
        "".join("white" if half.mean() > 240 else "black" if half.mean() < 15 else "?" for half in (left, right))
        for left, right in ((p[:, : p.shape[1] // 2 - _EDGE_PX], p[:, p.shape[1] // 2 + _EDGE_PX :]) for p in images)
    ]
    return "" if halves == ["whiteblack", "blackwhite"] else "it gives wrong images"


# (codec, file name) and the file: zlib, base 85. x264's version text is removed (ffmpeg -bsf:v filter_units).
_CLIPS = {
    ("H.264", "h264.mp4"): (
        "c-muNU{FXasVvAW&d+6FU}6B#Kx~v)mTZ_?U}DI?z`&7Kl$r{pLvm9ROMtX;YDWu$_Wyt1ifg#C-HoT}e%myy>uULy)z%AA_NH}IPyUtO3{<A*"
        "I7>0dY5$(~Pa5|B`#&DvZ`(De@YP?Rr_$Gxx7qjhZ`jPhz|5PQpI-)4oReFYk-~rijDVPhfq@Z>5P%U?6*}L60WV+zqL`AR#B3ltrX(9|Co`sL"
        "ESNfpvDX3a0F~5~l42k&lbTapg3!T&q?hqZZc1h%kfD&9g5B?-N5CB2jFg-rm`qt_N-DC-Fd#qQBQY-}Cl#cIu|795FAc~LDa!>LitJ346o{Nm"
        "N>OSWk~erti*ghoY)1RylB66Udw+3BaSD=}^`HcSBPc+gc3|)T(jGWfpaY5j|AC|_&{Su}6b7#U4;duVf%KZ2E@}r{KyktXB2L(NOp9P-V9R*@"
        "__Wf2zdwF}v<eg?78gJ*0b!A(k|IbLGpZh7V36GaGQPM39R4uJFo6+JEzn!Y;vg&o6iY@EV?vUvLQOvm>OiatF)KMANuL1_+m@!3fa26NHx*2S"
        "fFg4I0pq+Vv7jIaIV?Cbfr$hFsz-{>"
    ),
    ("H.264 10 bit", "h264_10.mp4"): (
        "c-muNU{FXasVvAW&d+6FU}6B#Kx~v)mTZ_?U}DI?z`&7Kl$r{p!*f#-OMtXWYDWu$_5Xk0{q{4>cAcKZJmH<nEByoE!7EqaPTKlJFt1bb@LZre"
        "Wye{HInMjfM*mr;|Nn^Ug|}-t7<qSS9oFwTed+G2bUg*_lLr_Wn0a&a^UHwBb8^cvQW#Kx5fHO5Fff7<0x+VgLgza$-~~)T6jM@^m<?pdlw^bL"
        "WX3d&1yd(6_By~Fppu$WQVgVJQgez+5IR_p^fF$_P036IG8A%Cu=_pq2$-Xrk&;sclPSwgNkvu}2IS{^B<7{$q=M8i*5_vCr2!ctWw~HOk)5fM"
        "0+EwRDN0R4@&-?7QH}zH&1hd-l9U5v?=LPXPC-($9+W0<1O>>`4h$YZ+5@KwbRhBnKaey9n(EA$$H4XfA%jFZkY09nic=1Y11M5}1W)sk&eR4*"
        "2DXgXk54Nd`1|V@NUK0WVsQb~5)c+iDk*}5F{9cW1_rr1AmfWmz~K*b3=<du)dIbREDpjlK(S;rF(xFrD%AADpaI0{5VMl=k@Oh=v2AHe2`ElY"
        "b5p@I2q+@QA27~~5(^4)ki&u_6PQQ<jFgKo"
    ),
    ("HEVC", "hevc.mp4"): (
        "c-oCpy)Q&T5TAYT1j!{tj+{6gxk5ofh(aV6M6OX135Dl&FZbfD_wwG}6ADh^56}>WLamXAP9YLeh(hmg5F`=`JhSh7?46I8%<Rn0{APA%cK{%f"
        "6U&b2*&ILvsZsj4)87jKH940t)PtNF0(C<dIcP0Dl9~Pcm8Ia}virJ--bRgF)vnf`58aF(zP7BrwoeBS$GZUf1h;J;0T%c36w0U%B?3S~{vuM2"
        "s@$jHPtuTgg=;LJJu4Q%GxhJ)BHuIrb8h<c0x3p?hdRM5Pkd!Wlw2*wscE2*<n-s>C(pu7Po7%tN5nTNQ;}1+w=>2fwV1?^6K*c%(1`gwEUI2J"
        "MN6>+by-enBU*5+WXUFLo|w1L4m{ye1#_Ece(x_&A)8J^26g6FL?y+80M|m^&yEr@hvsJJZo7l$m!~IyIz5S1;%O2kK_CITMCg*+wsvYeFxWLh"
        "NJV5Xxn8wBWu`9fnu<l~!6mxUiQwuna_Sy+%HOGX49|JLq?FjaaNqx^VYVa?_eA)AAI)eXBNm@U^-D>hFI(Z$l-Nr7{6P~+bE#I=R`R-0h6_~4"
        "nHb<K)RH>X|Hqke4ac$6x2!R7$ld@!=6=Q"
    ),
    ("VP8", "vp8.webm"): (
        "c-oV4y}x+AQ(GgW({~{L)X3uWxsk)EsiizMDc7mJk;$pGkx3%BA)S!{1Q^c>`pz!d<-5B(cy)`Y=gPF;HH`})Jh6~<*+AYg-`zbxo>0i)^x!p3"
        "jM5OUOz`e(5O@0<h&c?A4736uS1r)GzOk9#$-%dw#V4^WE!+`Ixpa0ogg_L59D89M)GhAU8ySm_c0lzr&S_*&+B&DXG%uy2k)f?MEIus2qPdY#"
        "`Ehd#Q&JSegU$_&4!as1W;HT}zH4NFd5DRD0p#bc#l@SF4|FFZj7vYU&~<T#OK6Z|h^N1wOZ#L411m7nGq5m#00w#IZKZdgH!>_<-^jqwAi&Hp"
        "mr=`s!2#$rj@H(W)|L(?CI+?(6)L}9`8nILCouf`zxcKPucHPGi<dVtXfOyeGq4J*VUS>u_Wu8c!9ephxA2201{3BsMm7BVYy0Z&$_55d1WerB"
        "zqyfNdlxXGKQ=LjerRL{0K06K{r"
    ),
    ("VP9", "vp9.webm"): (
        "c-oV4y}x+AQ(GgW({~{L)X3uWxsk)EsiizMDc7mJk;$pGkx3%BA)S!{1Q_=V`pz!d<-5B(cy)`Y=gPF;HH`})Jh6~<*+AYg-`zbxo>0i)^x!p3"
        "jPek!Oz`e(5O?Jph&c?A4736uS1r)GzOk9#$-%dw#V4^WE!+`Ixpa0ogg_L59D8LQ)GglE8ySm_c0lzr&S_*&+B&DXG%uy2k)f?MEIus2vbm8_"
        "`Ehd#Q&JSegWe5|4!as1LN~O8?rdZXeb>kU^Ar;U1IXW7i;FiUALvd-7@2-zq3hxfm(U=`5Kn(Um-fj923BCCXJBCf0Sxla+e%MAZ)8}!ype&S"
        "p~<t^iGle8^EU<y6&VRH1_px!1_q7g|NpOC!2kb$=spDohQ)Im88jH$7#t?eVF+MgU<N8EmfZjU1sk7v^0A`~pdg>PyMJ>d!}cy<)P8JYjQr5Z"
        "3;-%0kK6"
    ),
    ("AV1", "av1.mp4"): (
        "c-oCpPfG$(5TD%)Oe8!ANl0uVQG}pU&?OSO>>+{<3PB*NZx<K$xy$ZzqfXhaLlB-icMiN5LFWki0DX@Rox0e(UCpOvH0<pB-u!zr^9BGEgPl93"
        "XHx(fxYYby9%X?#+j#(p8m_LRJfuWpu^1w`+rO?T(LyQ#-K+Ve(gwL_Y%G0dZ+fu!T2k){>6{!{$aJ<+JSV{8$-~$4@!4B>^XOgLMcoIrZ66I5"
        "_3H%2sDK;+kb-YS(zw^;xd?v}79sC5S8E_XWsTs@x#?_?>B#@wTl^^?qZ8(#OzW1%MiCJqR(hhu)DS3?{N8)%B{*d3#Bzrg-z2)|S;n)iYE5G4"
        "+()WXvuPkm`ZP!?mYE@;ElphA5ZZ{hTuTYDwC1s@h4|iM9ua&xd>Lkpf;U|R6{R}UW0F$+KL2Ze{-6zU7_QT01)_)&j^;UoJe-qN<_^ZVd>b;P"
        "JQj?2c%K}u7$mWBQO`Mzy4r+J7Hk*eD+24tD`BphEyU%J_gaMUXWOBAAUUmyPlV6vYK~)x?M6-9gKtu7Ym5"
    ),
    ("MPEG-4", "mpeg4.mp4"): (
        "c-oCpKQ9D96n}fSxI%H_3W+ODqQtokqLG~L3Ly$Ag>^HR+uY9W+8LYBxX@6L_!b(85R@9x`2rLqI-Op^o7u(Oos)Z+x4-v)-@G>fkgbSq-{Bqu"
        "NPt9Si}_Op07z8=N)h)Mu?2u}3F$tB>-75a{@Km@_4B=XqTp$Fn0>I$;;o+ivbi^>{C%w3<Ybn4UWlEzEUXe}A`98X!s`5z(HzyP7vWz@;Hing"
        "uA#gpYU-cK_G)H(W;g#W{xmR3iQtG?>T>a$VQRU?D<h7LLXMHY@4j-Ul<_KYgKtmh5UNM6qVARKI&rCtF^-v2ub_|#nJTKcIZ7g5mISn-U88?1"
        "aC4DtEON2oqWs1MCtA!SKAo_`DCDJ!P(mzqjA*5y&rkfWQ%>ZVAlYa%mN3mkoX-uYko>9S9<=1K;<@bZ>TobBZsg$Z=l~uPW-3!g^<u#e%QM!5"
        "H9Jw5w0beez*R%qx49qpBRR7nf_NQKb=e6QYE|ETC)B|y;RMQ>J@!R)(6<x&=3+bA%AOWKCVg8($Q4gBs!-C1zD|4sf$jUQKAMz+Z{`avQK`r"
    ),
    ("MPEG-2", "mpeg2.mkv"): (
        "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})OrHdOXO|q<-?E2u_9x%n-NCC{L_Jrg1+Qsb2;qr^tjh-S&iL-`"
        "0rG@G4yOmNX<`h5aAksb10|c7j=q7I#t_UveE@RLvi&Wc*MCgby1ucQ-^szZp~WY$EG^s-Ou2M+ID|lyf*kA6u)pPq=Hs2~piU~h-pE*dv;%4w"
        "<D5nYrLA+COY>4X8X4N!!{U7dT-}YD8yS@!H@7e)MKL^>v7ymnSEIwMMyAjWJ)t`r8AG=N@eUyOT_Xd`qf878$&01|&D+ev;2`|}{{xWOTSdAU"
        "fbyU~+P%NUvm^Laaq*_)1Kr68>(fsxbY0xx5*p+f;_2__(mvV1zzU4?3@i*FfI;4QTdAY&{+2n*MISzIWLWIb-^jqwfZZ-2YX<`dg98JI!~g#W"
        "NT&b)XGf57M&aMFnjYO#mMZCgRE01UfWl1Jg_*GnvtSVhyGR4SiyE-HNcu-D)Ua=Nkz9mbm>Ih;3l?EeLR_)G#d*VX@7?{I8yU8D0W-kICdNr0"
        "8aY7%8b|`O0sEH$<N"
    ),
    ("MJPEG", "mjpeg.avi"): (
        "c-rll%}&BV6ot<ekb(`i#6;W?SFRLU7<Sf3FhwxNzpXJe1`>=0Oyf>hK81;oA`2hFpM^YvOID0?+agHUy5WAEcJ95M&a@{@o18<ZQhCS$+ow*x"
        "<{TZDvOv@Aw9ma(vjo6?#1Cc)(85>*71%TeQE0Bd33P8dZMFMzc`dhFuO949j-z>&!&nOoQZYJjt4&>hv8v+La4p*(mV-Z6A-Z<;WPdNG){cjH"
        "q2M;aFbu;m48t%C!!XQD;azvG%M&^I4>m@=f|!WM_0c{Jc@1$j@XEbxtJWOMu&$)VAja<(!^|S&`DQiX^2%%Zo-28|ud)xbT5&26TJU*=9Kx)f"
        "dyUQFTCudYQ7A%wU<Z1fNchZ6l1wIbT~|j6Rivj<sh~@z(}poWpUGq_Yf-+S4k5(vo6?h!5`;NjffcF99xR>w=a^W5W+7%lzQc$Km8f_NpS`kg"
        "F>5mXSKzr9{3O=D$QlP0<QwTQ#DD8hL*$wDzmnle$&eTZ?!CCX2UNpZAIPhIY2d5Sa&I>%B{fJG-<cQV+)y#8^bOCIZ~p"
    ),
    ("ProRes", "prores.mov"): (
        "c-qxdy-ve05Wb{oQb7lVI&`Q+hK^LKc!6d>r2|Nv5Ce;e6D1;ULSlkoq3R2;@B$3H2OBFRBLfe>(7jxov~?*|{7hV8edqi6e0OmGpyu++=!}~t"
        "fC@Q6<-(^9fbzyD;kY0BcI3h>z&=TBu)rFEs;U4bZMBpOC>Nj?U<lL=<FEM^7Iy?%8#eQ&tw9A;{psdGf8Ki;bw-`vS^i(o##UDSqtwq&E%^QK"
        "SQw^AAF$M;upm3QG`texor|&<^>J^(O2KieEgq9o)Q|b8IJ30OrY&cF=Ui)6K+~Z-L2Nid!si*9l&jn`>JwB<MnCWUdLlM0j|Oq3FfWKx@t@44"
        "dWeRwM+P)-Fi7b$f8e6MmNG#qm$^M9qDXWe2c}H4zDqcn@j#R2JPjH<uGDh1$jkKCgr5Y6!-OYPiit>Md-9mN-GjcEeYWsoLl4#77lU1v`Xn2~"
        "n(I4(2;PWD5*3-*swZ3wd&;KfXF&t&vL$=r6IesvRpA>KcC^`{6yJOYax9N6"
    ),
}
