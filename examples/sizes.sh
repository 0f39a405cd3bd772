#!/usr/bin/env bash
# Prints how large a program gets with landline and with std alone, made as small as Cargo makes it, and how many crates
# each is built of: the table of docs/recipes.md. With `panic = "abort"` a panic in a handler ends the program, so that row
# is for those who can bear it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR=$PWD/target/sizes CARGO_PROFILE_RELEASE_OPT_LEVEL=z CARGO_PROFILE_RELEASE_LTO=true
export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_STRIP=true

crates=$(cargo tree -e normal --prefix none | awk '{print $1}' | sort -u | wc -l)
echo "| $(rustc -vV | sed -n 's/^host: //p'), $(rustc --version | cut -d' ' -f2) | crates | size | with \`panic = \"abort\"\` |"
echo '|---|---|---|---|'
for name in echo echo_server echo_std; do
  sizes=
  for panic in unwind abort; do
    CARGO_PROFILE_RELEASE_PANIC=$panic cargo build --quiet --release --example "$name"
    sizes+=" $(($(stat -c %s "$CARGO_TARGET_DIR/release/examples/$name") / 1024)) KiB |"
  done
  case $name in *_std) count=0 ;; *) count=$crates ;; esac
  echo "| \`$name\` | $count |$sizes"
done
