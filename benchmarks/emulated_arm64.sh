#!/usr/bin/env bash
# Shows that a bundle made on x86-64 runs on arm64, without a board: an emulated Debian (qemu, Cortex-A72) runs its
# `selftest`, whose recorded answers are x86-64's, and classifies images, whose answers are compared with those here.
# For proof, not for timing: emulation is about a hundred times slower.
#
#   benchmarks/emulated_arm64.sh PLAN.pyz IMAGE...
#
# Needs Debian's qemu-user-static and debootstrap, a Python with pip here, and a network. Everything (450 MB) goes to
# .cache/arm64, where a second run finds it. Nothing is installed into this machine and nothing needs root but
# debootstrap.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '6p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bundle=$(realpath "$1") && shift
python=${PYTHON:-python3}
work=$here/.cache/arm64
suite=${SUITE:-bookworm}       # bookworm has Python 3.11, trixie 3.13
root=$work/$suite
engine=${ONNXRUNTIME:-1.23.2}  # later ones (1.31.1) crash on import under qemu 7.2

if [ ! -e "$root/.complete" ]; then
    rm -rf "$root" && mkdir -p "$work"
    # The first stage fetches packages; unpacked, not configured, they are enough for an interpreter.
    debootstrap --foreign --arch=arm64 --variant=minbase --include=python3 "$suite" "$root" >"$work/debootstrap.log"
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    touch "$root/.complete"
fi
version=$(basename "$(readlink "$root/usr/bin/python3")"); version=${version#python}
site=$work/site-$version-$engine
if [ ! -e "$site/.complete" ]; then
    rm -rf "$site"
    platforms=()
    for libc in 2014 _2_27 _2_28; do platforms+=(--platform "manylinux${libc}_aarch64"); done
    "$python" -m pip install -qq --no-cache-dir --target "$site" "${platforms[@]}" --only-binary=:all: \
        --implementation cp --python-version "$version" numpy pillow ai-edge-litert "onnxruntime==$engine"
    touch "$site/.complete"
fi

emulated() {
    env PYTHONPATH="$site" XDG_CACHE_HOME="$work/cache" QEMU_CPU=cortex-a72 \
        qemu-aarch64-static -L "$root" "$root/usr/bin/python$version" "$@"
}

emulated -c 'import platform, numpy, onnxruntime as ort
print(platform.machine(), "Python", platform.python_version(), "NumPy", numpy.__version__, "onnxruntime", ort.__version__)'
emulated "$bundle" selftest
emulated "$bundle" classify --json "$@" >"$work/arm64.jsonl"
"$python" "$bundle" classify --json "$@" >"$work/here.jsonl"
"$python" - "$bundle" "$work/here.jsonl" "$work/arm64.jsonl" <<'EOF'
import json, sys, zipfile

bundle, *files = sys.argv[1:]
tolerance = json.loads(zipfile.ZipFile(bundle).read("manifest.json"))["tolerance"]
here, arm64 = ([json.loads(line) for line in open(file)] for file in files)
apart = max(abs(a["confidence"] - b["confidence"]) for a, b in zip(here, arm64, strict=True))
same = all(a["label"] == b["label"] for a, b in zip(here, arm64, strict=True))
print(f"{len(here)} images: labels {'equal' if same else 'DIFFER'}, "
      f"confidences at most {apart:.2g} apart (tolerance {tolerance:.2g})")
sys.exit(not (same and apart <= tolerance))
EOF
