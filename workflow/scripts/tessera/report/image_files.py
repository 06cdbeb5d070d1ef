"""Image files as data URIs, so that the report is a single file."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

SHEET_PX = 1600  # longer side of contact sheets and explanations in the report


def embed_image(path: Path, longest_px: int | None = None) -> str:
    """An image file (PNG or JPEG) as a data URI; with `longest_px`, a JPEG whose longer side is at most that."""
    content, kind = path.read_bytes(), {".jpg": "jpeg", ".png": "png"}[path.suffix]
    if longest_px:
        image = Image.open(path).convert("RGB")
        image.thumbnail((longest_px, longest_px))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        content, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def embed_overlay(folder: Path) -> dict[str, Any]:
    """An image with its outlines, from a folder of `tessera.report.overlay_images`.

    Returns:
        Content of picture.json, and `base`, `labels`, `truth` and `reference`: data URIs, or None.
    """
    layers = {name: next(folder.glob(f"{name}.*"), None) for name in ("base", "labels", "truth", "reference")}
    described: dict[str, Any] = json.loads((folder / "picture.json").read_text())
    return described | {name: path and embed_image(path) for name, path in layers.items()}
