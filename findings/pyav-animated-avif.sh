#!/usr/bin/env bash
# PyAV 18.1.0: the first video stream of an animated AVIF is a still picture.
#
# One would expect: `decode(video=0)`, which reads all frames of animated GIF and PNG, to read all frames here too.
# What happens: the file has two video streams, its cover first; `decode(video=0)` ends after one frame without a word.
# The animation is the second stream, which is also what `streams.best("video")` answers.
#
# Output seen:
#   av 18.1.0
#   GIF: 3 frames in video=0, the best stream is 0
#   PNG: 3 frames in video=0, the best stream is 0
#   AVIF: 1 frames in video=0, 3 frames in video=1, the best stream is 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import io

import av
from PIL import Image

print("av", av.__version__)
pictures = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
for kind in ("GIF", "PNG", "AVIF"):
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=100)
    file.seek(0)
    with av.open(file) as container:
        count, best = len(container.streams.video), container.streams.best("video").index
    seen = []
    for number in range(count):
        file.seek(0)
        with av.open(file) as container:
            seen.append(f"{sum(1 for _ in container.decode(video=number))} frames in video={number}")
    print(f"{kind}: {', '.join(seen)}, the best stream is {best}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "av==18.1.0" "pillow==13.0.0"
"$folder/venv/bin/python" "$folder/try.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
av 18.1.0
GIF: 3 frames in video=0, the best stream is 0
PNG: 3 frames in video=0, the best stream is 0
AVIF: 1 frames in video=0, 3 frames in video=1, the best stream is 1
SEEN
