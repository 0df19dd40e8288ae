#!/usr/bin/env bash
# PyAV 18.1.0: the side data of a frame cannot be read at all if one piece is of a type that PyAV has no name for.
#
# One would expect: pieces of unknown types to be left out, or handed on by their numbers.
# What happens: a JPEG whose EXIF says who made it decodes, but VideoFrame.side_data raises a ValueError, so that the other
# pieces, such as the display matrix, are out of reach too. The FFmpeg in the wheel counts further than av.sidedata's Type.
#
# Output seen:
#   av 18.1.0
#   without EXIF: 64x48, 0 pieces of side data
#   with EXIF: 64x48, ValueError: 31 is not a valid Type
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import io

import av
from PIL import Image

print("av", av.__version__)
exif = Image.Exif()
exif[0x010F] = "a camera"
for label, more in (("without EXIF", {}), ("with EXIF", {"exif": exif})):
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG", **more)
    file.seek(0)
    with av.open(file) as container:
        frame = next(container.decode(video=0))
        try:
            pieces = f"{len(frame.side_data)} pieces of side data"
        except ValueError as error:
            pieces = f"ValueError: {error}"
        print(f"{label}: {frame.width}x{frame.height}, {pieces}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "av==18.1.0" "pillow==13.0.0"
"$folder/venv/bin/python" "$folder/try.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
av 18.1.0
without EXIF: 64x48, 0 pieces of side data
with EXIF: 64x48, ValueError: 31 is not a valid Type
SEEN
