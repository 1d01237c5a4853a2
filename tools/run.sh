#!/bin/sh
# The main job from start to end: a video (simulated, if none is given) to a store, pictures and a verdict per layer.
set -eu
spatterlib=$1 out=$2 video=$3
mkdir -p "$out"
if [ -z "$video" ]; then
    video="$out/simulated.mp4"
    test -f "$video" || "$spatterlib" simulate "$video" --seconds 60 --seed 1
fi
name=$(basename "$video")
name=${name%.*}
code=0
"$spatterlib" extract "$video" -o "$out/$name.h5" --plot "$out/$name.timeline.png" --overwrite || code=$?
if [ "$code" -ne 0 ] && [ "$code" -ne 3 ]; then exit "$code"; fi
"$spatterlib" show "$out/$name.h5" -o "$out/$name.crops.png" > /dev/null
# The model that comes along learned from simulated recordings: on others it mostly, and rightly, gives no verdict.
"$spatterlib" predict "$out/$name.h5" --model simulated -o "$out/$name.html" --overwrite
cat <<EOF

Results:
  $out/$name.h5            crops, measurements, frame log ($spatterlib info $out/$name.h5)
  $out/$name.timeline.png  detections per second, layers shaded
  $out/$name.crops.png     the first crops
  $out/$name.html          the verdict on each layer, by a model that learned from simulated recordings
EOF
exit "$code"
