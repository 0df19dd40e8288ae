#!/usr/bin/env bash
# PyAV 18.1.0: frames come back from AVI and ASF at times at which nobody wrote them, where frames are coded out of their
# order (B-frames).
#
# One would expect: the times that were written, as from MP4, or none where the format has no room for them.
# What happens: every frame has a time, and the gaps have moved to other frames: what was written at 0.8 seconds is said
# to be at 0.6, what was written at 2.0 and 2.1 at 1.2 and 1.3. Nothing tells these times from true ones.
#
# Output seen (tenths of a second):
#   av 18.1.0
#   written: 0 1 2 3 4 8 9 10 20 21
#   mp4: 0 1 2 3 4 8 9 10 20 21
#   avi: 1 2 3 4 5 6 10 11 12 13
#   asf: 1 2 3 4 5 6 10 11 12 13
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import io
from fractions import Fraction

import av
import numpy as np

TENTHS = [0, 1, 2, 3, 4, 8, 9, 10, 20, 21]
RANDOM = np.random.default_rng(0)
print("av", av.__version__)
print("written:", *TENTHS)
for kind in ("mp4", "avi", "asf"):
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for tenth in [*TENTHS, None]:
            frame = None
            if tenth is not None:
                frame = av.VideoFrame.from_ndarray(RANDOM.integers(0, 256, (48, 64, 3), np.uint8), "rgb24")
                frame.pts, frame.time_base = tenth, Fraction(1, 10)
            for packet in stream.encode(frame):
                container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        print(f"{kind}:", *(round(float(frame.pts * frame.time_base * 10)) for frame in container.decode(video=0)))
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "av==18.1.0" "numpy==2.4.6"
"$folder/venv/bin/python" "$folder/try.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
av 18.1.0
written: 0 1 2 3 4 8 9 10 20 21
mp4: 0 1 2 3 4 8 9 10 20 21
avi: 1 2 3 4 5 6 10 11 12 13
asf: 1 2 3 4 5 6 10 11 12 13
SEEN
