#!/usr/bin/env bash
# Pillow 13.0.0: the same call of Image.resize gives other pixels than in 12.3.0.
#
# One would expect: the bicubic filter to give one result, or width before height as it was up to 12.3.0.
# What happens: 13.0.0 goes over the height first where that is the cheaper order. Values between the passes are rounded
# to whole levels and clipped, so that the order is seen: by up to 15 of 255 levels on a page of black text on white.
#
# Output seen:
#   11.3.0: 0 levels from width first, 15 from height first
#   12.3.0: 0 levels from width first, 15 from height first
#   13.0.0: 15 levels from width first, 0 from height first
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import PIL
from PIL import Image, ImageChops, ImageDraw

WIDTH, HEIGHT, BICUBIC = 800, 600, Image.Resampling.BICUBIC
page = Image.new("RGB", (400, 1200), "white")
draw = ImageDraw.Draw(page)
for line in range(30):
    draw.text((10, 13 * line), "Sphinx of black quartz, judge my vow 0123456789 " * 4, "black")


def furthest(other):
    return max(high for _, high in ImageChops.difference(resized, other).getextrema())


resized = page.resize((WIDTH, HEIGHT), BICUBIC)
width_first = page.resize((WIDTH, page.height), BICUBIC).resize((WIDTH, HEIGHT), BICUBIC)
height_first = page.resize((page.width, HEIGHT), BICUBIC).resize((WIDTH, HEIGHT), BICUBIC)
print(f"{PIL.__version__}: {furthest(width_first)} levels from width first, {furthest(height_first)} from height first")
PYTHON
for pinned in pillow==11.3.0 pillow==12.3.0 pillow==13.0.0; do
    python3 -m venv "$folder/$pinned"
    "$folder/$pinned/bin/pip" install --quiet --disable-pip-version-check "$pinned"
    "$folder/$pinned/bin/python" "$folder/try.py" | tee -a "$folder/seen"
done
diff "$folder/seen" - <<'SEEN'
11.3.0: 0 levels from width first, 15 from height first
12.3.0: 0 levels from width first, 15 from height first
13.0.0: 15 levels from width first, 0 from height first
SEEN
