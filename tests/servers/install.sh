# Sourced by tests/check: what the tests' real servers need from Debian, when we may install it.
# Elsewhere the tests that need them are skipped and say why; where CI is set they fail.
vigil_debs=(
  redis-server openjdk-17-jre-headless maven nodejs npm chromium docker-compose
  python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav
)
vigil_missing=()
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  for deb in "${vigil_debs[@]}"; do
    case $deb in
      redis-server) command -v redis-server >/dev/null && continue ;;
      openjdk-*) command -v java >/dev/null && continue ;;
      maven) command -v mvn >/dev/null && continue ;;
      nodejs) command -v node >/dev/null && continue ;;
      chromium) command -v chromium >/dev/null && continue ;;
      docker-compose) command -v docker-compose >/dev/null && continue ;;
      npm) command -v npm >/dev/null && continue ;;
      *) dpkg -s "$deb" >/dev/null 2>&1 && continue ;;
    esac
    vigil_missing+=("$deb")
  done
fi
if [ ${#vigil_missing[@]} -gt 0 ]; then
  echo "installing ${vigil_missing[*]} ..." >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${vigil_missing[@]}" >/dev/null
fi
