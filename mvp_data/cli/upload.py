"""The command `mvp-data upload`."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json


def upload_command(
    shards: Annotated[Path, typer.Argument(help="A finished build.")],
    url: Annotated[str, typer.Argument(help="Folder to copy it to: s3://, gs://, az:// or file://.")],
    as_json: AsJson = False,
) -> None:
    """Copy a finished build to an object store, its index last. After an interruption the same command resumes.

    Example:

      mvp-data upload shards/ s3://bucket/masked-videos
    """
    from mvp_data.core.text import plural
    from mvp_data.pipeline.upload import upload
    from mvp_data.system.progress import Progress

    count = sum(1 for _ in shards.glob("*")) if shards.is_dir() else 0
    with Progress(count, "uploading", "file") as bar:
        report = upload(shards, url, lambda _: bar.update())
    if as_json:
        print_json(report)
        return
    typer.echo(f"{plural(report.files, 'file')}, {report.bytes} bytes, are in {report.url}")
    typer.echo(f"  known     {report.known}")
