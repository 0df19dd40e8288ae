#!/usr/bin/env bash
# PyAV 18.1.0: VideoFrame.rotation cannot tell a video that is to be shown mirrored from one that is turned or upright.
#
# One would expect: what `set_display_rotation` was given to be read back, as its documentation has it, or None for what
# is no rotation.
# What happens: a mirror from left to right reads as half a turn, a mirror from top to bottom as upright. The display
# matrix among the frame's side data, whose first two rows are printed beside it, has all four apart.
#
# Output seen:
#   av 18.1.0
#   upright: rotation 0, matrix none
#   half a turn: rotation -180, matrix [-1, 0, 0, -1]
#   left to right: rotation -180, matrix [-1, 0, 0, 1]
#   top to bottom: rotation 0, matrix [1, 0, 0, -1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PYTHON'
import io

import av
import numpy as np

print("av", av.__version__)
SETTINGS = {
    "upright": {},
    "half a turn": {"degrees": 180},
    "left to right": {"hflip": True},
    "top to bottom": {"vflip": True},
}
for label, more in SETTINGS.items():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(**({"degrees": 0} | more))
        for frame in (av.VideoFrame(64, 48, "yuv420p"), None):
            for packet in stream.encode(frame):
                container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        frame = next(container.decode(video=0))
        stored = frame.side_data.get("DISPLAYMATRIX")
        matrix = "none" if stored is None else (np.frombuffer(bytes(stored), np.int32)[[0, 1, 3, 4]] >> 16).tolist()
        print(f"{label}: rotation {frame.rotation}, matrix {matrix}")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "av==18.1.0" "numpy==2.4.6"
"$folder/venv/bin/python" "$folder/try.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
av 18.1.0
upright: rotation 0, matrix none
half a turn: rotation -180, matrix [-1, 0, 0, -1]
left to right: rotation -180, matrix [-1, 0, 0, 1]
top to bottom: rotation 0, matrix [1, 0, 0, -1]
SEEN
