#!/bin/sh
# Runs suites of other projects without and with shaper, from their source packages; docs/pytest.md has the outcome.
# usage: sh tests/testing/suites.sh [FOLDER]; redis-server must be installed. It takes half an hour.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-/tmp/shaper-suites}
mkdir -p "$folder"
cd "$folder"

[ -d venv ] || python3 -m venv venv
venv/bin/pip install -q -e "$here" pytest pytest-timeout 'setuptools>=77' hatchling hatch-vcs hatch-fancy-pypi-readme
for package in requests==2.34.2 httpx==0.28.1 redis==8.1.0 urllib3==2.8.0; do
    venv/bin/pip download -q --no-deps --no-binary :all: --no-build-isolation -d sources "$package"
done
for source in sources/*.tar.gz; do tar xf "$source"; done
venv/bin/pip install -q pytest-asyncio pytest-httpbin==2.1.0 httpbin trustme pytest-mock PySocks chardet uvicorn brotli \
    zstandard 'anyio[trio]' h2 socksio click rich pytest-socket hypercorn quart quart-trio pyopenssl numpy ujson pybreaker \
    xxhash aiohttp uvloop opentelemetry-api opentelemetry-sdk
venv/bin/pip install -q ./requests-2.34.2 ./httpx-0.28.1 ./redis-8.1.0 ./urllib3-2.8.0

cat >redis_inside.py <<END
import socket, subprocess, time
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    options = ["--port", "6379", "--save", "", "--enable-debug-command", "yes", "--enable-module-command", "yes"]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    config.add_cleanup(server.kill)
    while socket.socket().connect_ex(("127.0.0.1", 6379)):
        time.sleep(0.05)
END

# compare NAME FOLDER ARGS: runs the tests in FOLDER twice, and prints the tests with another outcome.
compare() {
    name=$1 folder=$2
    shift 2
    for how in without with; do
        options=
        [ $how = without ] || options="--shaper delay:2ms --shaper-seed 1"
        # The options are meant to be split into words.
        # shellcheck disable=SC2086
        (cd "$folder" && PYTHONPATH=.. ../venv/bin/python -m pytest -q -p no:cacheprovider -rfE --tb=short \
            --junitxml="../$name-$how.xml" $options "$@" >"../$name-$how.log" 2>&1) || true
        tail -n 1 "$name-$how.log"
    done
    venv/bin/python - "$name" <<END
import sys
from xml.etree import ElementTree

def outcomes(path):
    cases = ElementTree.parse(path).iter("testcase")
    kinds = ("failure", "error", "skipped")
    return {f"{c.get('classname')}::{c.get('name')}": next((e.tag for e in c if e.tag in kinds), "passed") for c in cases}

without, shaped = (outcomes(f"{sys.argv[1]}-{how}.xml") for how in ("without", "with"))
for name in sorted(without.keys() | shaped.keys()):
    if without.get(name) != shaped.get(name):
        print(name, without.get(name), "->", shaped.get(name))
END
}

timeout_tests=tests/test_requests.py::TestTimeout
compare requests requests-2.34.2 tests --deselect $timeout_tests::test_connect_timeout \
    --deselect $timeout_tests::test_total_timeout_connect
compare httpx httpx-0.28.1 tests -p no:asyncio
compare urllib3 urllib3-2.8.0 test --timeout 60 -p no:asyncio
compare redis redis-8.1.0 -p redis_inside --timeout 60 \
    -m "not onlycluster and not redismod and not ssl and not cp_integration" tests/test_commands.py \
    tests/test_connection_pool.py tests/test_pipeline.py tests/test_pubsub.py tests/test_lock.py tests/test_scripting.py \
    tests/test_monitor.py tests/test_encoding.py tests/test_client.py tests/test_connection.py \
    tests/test_asyncio/test_commands.py tests/test_asyncio/test_pubsub.py tests/test_asyncio/test_lock.py
