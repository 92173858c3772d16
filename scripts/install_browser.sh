#!/usr/bin/env bash
# Chromium and its driver, which tests/browser opens pages with, and a font with scripts of the whole world: Debian's
# and Ubuntu's packages. Nothing is done where they are there. Prints the two programs.
#
#   scripts/install_browser.sh
#
# Environment:
#   CHROMIUM, CHROMEDRIVER    programs that are there already
set -euo pipefail

# Ubuntu's package of this name is a door to a snap, which does not start in containers; its driver is found the same way.
find_browser() { command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || true; }
find_driver() { command -v "${CHROMEDRIVER:-chromedriver}" || true; }

if [[ -z $(find_browser) || -z $(find_driver) ]]; then
  as_root=()
  if [[ $(id -u) != 0 ]]; then as_root=(sudo -n); fi
  "${as_root[@]}" apt-get -qq update >&2
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install -y --no-install-recommends \
    chromium chromium-driver fonts-droid-fallback fonts-dejavu-core >&2
fi
browser=$(find_browser)
driver=$(find_driver)
if [[ -z $browser || -z $driver ]]; then
  echo "install_browser: apt-get brought no chromium and chromedriver. Install them, or name them: CHROMIUM, CHROMEDRIVER." >&2
  exit 1
fi
echo "$browser"
echo "$driver"
