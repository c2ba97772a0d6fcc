"""Remote scenes and results, on an S3 server and a web server on loopback, each in its own process."""

import json
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import geobox, ramp, read_tif, write_tif
from console import run
from safe import L2A, numbers, write_safe
from servers import free_port

from geocloud.errors import SceneNotFoundError, SceneReadError, without_secrets
from geocloud.io.remote import is_remote, read_bytes
from geocloud.simulate import SimulatedScene, write_level1

pytestmark = pytest.mark.slow

BUCKET = "archive"


def serve(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            assert process.poll() is None
            time.sleep(0.1)
    raise AssertionError("no server")


@pytest.fixture(scope="module")
def s3():
    """An S3 client, and the environment variables with which geocloud uses the same server."""
    pytest.importorskip("moto", reason="needs moto: pip install 'geocloud[test]'")
    import boto3

    port = free_port()
    environment = {
        "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    process = serve([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="any",
            aws_secret_access_key="any",  # noqa: S106 - the server accepts any
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        yield client, environment
    finally:
        process.kill()
        process.wait()


def geocloud(environment, *arguments):
    return run(*arguments, **environment)


def apart(*arguments):
    """Runs in a separate process, so that output of C libraries is captured too."""
    line = [sys.executable, "-m", "geocloud_cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_reading_from_and_writing_to_a_bucket(s3, tmp_path):
    client, environment = s3
    tif = write_tif(tmp_path / "stack.tif", np.rint(ramp() * 1e4).astype("uint16"))
    name = "LC08_L1TP_190026_20240701_20240708_02_T1"
    write_level1(
        SimulatedScene(ramp(), np.zeros((90, 110), bool)), tmp_path / name, name, grid=geobox(), sun_elevation=50.0
    )
    client.upload_file(str(tif), BUCKET, "in/stack.tif")
    for file in (tmp_path / name).iterdir():
        client.upload_file(str(file), BUCKET, f"in/{name}/{file.name}")

    alone = geocloud(environment, "mask", f"s3://{BUCKET}/in/stack.tif", "-o", tmp_path / "alone.tif")
    assert alone.returncode == 0, alone.stderr

    where = ("batch", f"s3://{BUCKET}/in/", "-o", tmp_path / "out", "--upload", f"s3://{BUCKET}/masks", "--no-keep")
    done = geocloud(environment, *where)
    assert done.returncode == 0, done.stdout + done.stderr
    keys = {entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="masks/")["Contents"]}
    for scene in ("stack", name):
        assert {f"masks/{scene}_cloudmask.tif", f"masks/{scene}_cloudmask.qml", f"masks/{scene}.json"} <= keys
    assert {"masks/report.html", "masks/footprints.gpkg", "masks/collection.json"} <= keys
    assert not list((tmp_path / "out").glob("*_cloudmask.tif*"))
    client.download_file(BUCKET, "masks/stack_cloudmask.tif", str(tmp_path / "back.tif"))
    assert (read_tif(tmp_path / "back.tif") == read_tif(tmp_path / "alone.tif")).all()
    local = geocloud(environment, "mask", tmp_path / name, "-o", tmp_path / "local.tif")
    assert local.returncode == 0
    client.download_file(BUCKET, f"masks/{name}_cloudmask.tif", str(tmp_path / "folder.tif"))
    assert (read_tif(tmp_path / "folder.tif") == read_tif(tmp_path / "local.tif")).all()

    # Finished scenes stay finished until their source changes.
    assert "0 to do" in geocloud(environment, *where, "--dry-run").stdout
    client.upload_file(str(write_tif(tmp_path / "other.tif", ramp()[:, ::-1].copy())), BUCKET, "in/stack.tif")
    assert "1 to do" in geocloud(environment, *where, "--dry-run").stdout


def test_a_sentinel_2_product_in_a_bucket(s3, tmp_path):
    client, environment = s3
    root = write_safe(tmp_path, numbers(ramp()), L2A)
    for file in root.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), BUCKET, f"sentinel/2023/{file.relative_to(tmp_path)}")
    where = f"s3://{BUCKET}/sentinel/2023/{root.name}"
    done = geocloud(environment, "mask", where, "-o", tmp_path / "there.tif")
    assert done.returncode == 0, done.stderr
    assert geocloud(environment, "mask", root, "-o", tmp_path / "here.tif").returncode == 0
    assert (read_tif(tmp_path / "there.tif") == read_tif(tmp_path / "here.tif")).all()
    batch = ("batch", f"s3://{BUCKET}/sentinel/", "-o", tmp_path / "out")
    assert "1 to do" in geocloud(environment, *batch, "--dry-run").stdout
    assert geocloud(environment, *batch).returncode == 0
    assert (read_tif(tmp_path / "out" / f"{L2A}_cloudmask.tif") == read_tif(tmp_path / "here.tif")).all()
    assert "0 to do" in geocloud(environment, *batch, "--dry-run").stdout


def test_a_stac_catalog_on_s3(s3, tmp_path):
    client, environment = s3
    tif = write_tif(tmp_path / "s.tif", ramp(), descriptions=("red", "green", "blue", "nir"))
    client.upload_file(str(tif), BUCKET, "stac/data/s.tif")
    bands = [{"name": n, "eo:common_name": n} for n in ("red", "green", "blue", "nir")]
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "far-away",
        "geometry": None,
        "properties": {"datetime": "2024-07-01T10:00:00Z"},
        "links": [],
        "assets": {"all": {"href": "../data/s.tif", "bands": bands}},
    }
    client.put_object(Bucket=BUCKET, Key="stac/items/item.json", Body=json.dumps(item).encode())
    catalog = {"type": "Catalog", "id": "c", "stac_version": "1.1.0", "description": "d"}
    catalog["links"] = [{"rel": "item", "href": "./items/item.json"}]
    client.put_object(Bucket=BUCKET, Key="stac/catalog.json", Body=json.dumps(catalog).encode())
    done = geocloud(environment, "batch", f"s3://{BUCKET}/stac/catalog.json", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "far-away_cloudmask.tif").exists()


def test_what_is_missing_elsewhere_is_one_line(s3, tmp_path):
    _, environment = s3
    for source in (f"s3://{BUCKET}/none.tif", f"s3://{BUCKET}/none/", f"s3://{BUCKET}/x.tar", f"s3://{BUCKET}/x.json"):
        done = geocloud(environment, "mask", source, "-o", tmp_path / "m.tif")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1 and source.rstrip("/") in done.stderr


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("web"), free_port()
    process = serve(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", folder], port
    )
    yield folder, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_scenes_on_a_web_server(web, tmp_path):
    folder, address = web
    write_tif(folder / "stack.tif", ramp())
    (tmp_path / "list.txt").write_text(f"{address}/stack.tif\n{address}/gone.tif\n")
    done = geocloud({}, "batch", tmp_path / "list.txt", "-o", tmp_path / "out")
    assert done.returncode == 1 and "1 done, 1 failed" in done.stdout and "gone.tif" in done.stdout
    assert (tmp_path / "out" / "stack_cloudmask.tif").exists()
    assert "1 to do" in geocloud({}, "batch", tmp_path / "list.txt", "-o", tmp_path / "out", "--dry-run").stdout
    with pytest.raises(SceneNotFoundError):
        read_bytes(f"{address}/none")
    with pytest.raises(SceneReadError):
        read_bytes(f"http://127.0.0.1:{free_port()}/none")


def test_signatures_and_passwords_reach_nothing_that_is_kept_or_shown(web, tmp_path):
    folder, address = web
    secret, other = "?sig=SECRET%2B1&X-Amz-Signature=SECRET2", "?sig=SECRET3"
    write_tif(folder / "signed.tif", ramp())
    bands = [{"name": n, "eo:common_name": n} for n in ("red", "green", "blue", "nir")]
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "item", "geometry": None, "links": []}
    item["properties"] = {"datetime": "2024-07-01T10:00:00Z"}

    def listed(query):
        item["assets"] = {"all": {"href": f"{address}/signed.tif{query}", "bands": bands}}
        (tmp_path / "item.json").write_text(json.dumps(item))
        named = address.replace("://", "://user:SECRET4@")
        lines = [f"{address}/signed.tif{query}", f"{address}/gone.tif{query}", "item.json", f"{named}/none.tif"]
        (tmp_path / "list.txt").write_text("\n".join(lines))
        return tmp_path / "list.txt"

    done = apart("batch", listed(secret), "-o", tmp_path / "out", "--polygons", "--probability")
    assert "2 done, 2 failed" in done.stdout, done.stdout + done.stderr
    alone = apart("mask", f"{address}/signed.tif{secret}", "-o", tmp_path / "out" / "alone.tif", "--json")
    assert alone.returncode == 0, alone.stderr
    gone = apart("mask", f"{address}/gone.tif{secret}", "-o", tmp_path / "out" / "gone.tif")
    assert gone.returncode == 1
    status = run("batch", "status", tmp_path / "out")
    said = "".join(ended.stdout + ended.stderr for ended in (done, alone, gone, status))
    assert "SECRET" not in said and "gone.tif" in said
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert (tmp_path / "out" / "signed_cloudmask.tif") in kept
    for path in kept:
        assert "SECRET" not in path.name and "sig=" not in path.name
        assert b"SECRET" not in path.read_bytes(), path
    again = run("batch", listed(other), "-o", tmp_path / "out", "--polygons", "--probability", "--dry-run")
    assert "2 done before" in again.stdout and "SECRET" not in again.stdout, "signed anew, they are the same files"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.b/c.tif?sig=x", "https://a.b/c.tif"),
        ("s3://k:p@b/c.json?x=1#item", "s3://b/c.json#item"),
        (
            "cannot open '/vsicurl/https://a/b.tif?X-Amz-Signature=1': gone",
            "cannot open '/vsicurl/https://a/b.tif': gone",
        ),
        ("C:/x?y a@b.org", "C:/x?y a@b.org"),
    ],
)
def test_what_is_secret_in_an_address(text, shown):
    assert without_secrets(text) == shown and str(SceneReadError(text)) == shown


def test_addresses_are_told_from_paths():
    assert is_remote("s3://b/k") and is_remote("https://x/y.tif")
    assert not is_remote("C:/x") and not is_remote("file:///etc/passwd") and not is_remote("a/b.tif")
