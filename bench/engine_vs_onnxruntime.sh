#!/bin/sh
# The engine beside ONNX Runtime on the same networks and cores, in turns. Installs ONNX Runtime's Node package (pinned, CPU
# only) into the build folder. Usage: bench/engine_vs_onnxruntime.sh BUILD_DIR [options of engine_vs_onnxruntime.mjs]
set -eu
cd "$(dirname "$0")/.."
build=$1
shift
version=1.30.0
folder=$build/onnxruntime

ninja -C "$build" bench/bench_engine >/dev/null
mkdir -p "$folder"
if [ ! -d "$folder/node_modules/onnxruntime-node" ]; then
    # Its own install script would fetch CUDA libraries, which nothing here uses.
    npm install --prefix "$folder" --no-save --ignore-scripts --no-audit --no-fund --silent "onnxruntime-node@$version"
fi
exec node bench/engine_vs_onnxruntime.mjs --engine "$build/bench/bench_engine" --folder "$folder" "$@"
