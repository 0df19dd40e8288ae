#!/usr/bin/env bash
# PyAV 18.1.0: animated WebP is recognised but cannot be decoded.
#
# One would expect: it to be read as animated GIF and PNG are, or to be refused when it is opened.
# What happens: the file opens and has one video stream; the decoder that FFmpeg brings then refuses the valid data.
#
# Output seen:
#   av 18.1.0
#   GIF: Pillow 3 frames, PyAV 1 stream, 3 frames
#   PNG: Pillow 3 frames, PyAV 1 stream, 3 frames
#   WEBP: Pillow 3 frames, PyAV 1 stream, InvalidDataError: Invalid data found when processing input
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import io

import av
from PIL import Image

print("av", av.__version__)
pictures = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
for kind in ("GIF", "PNG", "WEBP"):
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=100)
    with Image.open(file) as image:
        expected = image.n_frames
    file.seek(0)
    with av.open(file) as container:
        streams = len(container.streams.video)
        try:
            seen = f"{sum(1 for _ in container.decode(video=0))} frames"
        except av.error.InvalidDataError as error:
            seen = f"InvalidDataError: {error.strerror}"
    print(f"{kind}: Pillow {expected} frames, PyAV {streams} stream, {seen}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "av==18.1.0" "pillow==13.0.0"
"$folder/venv/bin/python" "$folder/try.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
av 18.1.0
GIF: Pillow 3 frames, PyAV 1 stream, 3 frames
PNG: Pillow 3 frames, PyAV 1 stream, 3 frames
WEBP: Pillow 3 frames, PyAV 1 stream, InvalidDataError: Invalid data found when processing input
SEEN
