"""Video containers: the demuxers that may be used, and the file extensions of videos and of other files."""

# Containers that hold their own data. Playlists and scripts (hls, dash, concat, image2, sdp) are excluded because
# they make the decoder open other files and URLs. Audio and image formats are included so that such files are skipped
# with the right reason.
CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,ivf,obu,av1,flv,live_flv,asf,ogg,mxf,gxf,nut,"
    "rm,dv,wtv,yuv4mpegpipe,mjpeg,gif,apng,amv,nsv,vivo,"
    "aac,ac3,aiff,amr,ape,caf,flac,mp3,w64,wav,wv,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,psd_pipe,svg_pipe"
)
_VIDEO = """
    3g2 3gp asf avi divx dv f4v flv gif ivf m1v m2t m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg
    mts mxf nut obu ogm ogv qt rm rmvb ts vob webm wmv y4m
"""
_OTHER = """
    arrow ass bmp bz2 cfg css csv doc docx feather gz h5 hdf5 heic htm html ico idx ini ipynb jpeg
    jpg js json jsonl lock log lrc md md5 msgpack npy npz onnx parquet pdf pickle pkl png pt pth py
    rar rst rtf safetensors sh sha1 sha256 sqlite srt ssa svg tfrecord tgz tif tiff toml torrent tsv
    txt vtt webp xls xlsx xml xz yaml yml zip zst 7z
"""
VIDEO_EXTENSIONS = frozenset("." + name for name in _VIDEO.split())
# Extensions of files that are not videos. Those that may be a video (`.ts`, `.dat`) are left out: the decoder decides.
# Those of audio files are left out because the decoder gives a better message.
OTHER_EXTENSIONS = frozenset("." + name for name in _OTHER.split())
