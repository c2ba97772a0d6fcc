"""Object stores with failing requests: no data are lost or duplicated, and errors contain no secrets.

All tests run in this process; for the command line see `test_remote`.
"""

import json
import shutil
import tarfile
import zipfile
from itertools import count

import numpy as np
import pytest
from conftest import geobox, ramp, write_tif
from rasterio.windows import Window
from safe import L2A, numbers, write_safe
from servers import Blobs, Faults, let_in, serving

from geocloud.batch import BatchOptions, find_scenes
from geocloud.batch.find import fingerprint
from geocloud.batch.job import BAD_INPUT, PASSING, Job, run_job
from geocloud.errors import GeocloudError, OutputError, SceneError, SceneNotFoundError, SceneReadError
from geocloud.io import remote
from geocloud.io.remote import identity, list_files, open_file, read_bytes, upload
from geocloud.readers import open_scene
from geocloud.simulate import SimulatedScene, write_level1

pytestmark = pytest.mark.slow

pytest.importorskip("moto", reason="needs moto: pip install 'geocloud[test]'")

NAME = "LC08_L1TP_190026_20240701_20240708_02_T1"
NUMBERS = count()
TROUBLE = ("busy", "reset", "throttled", "cut")


@pytest.fixture(scope="module")
def servers():
    """An S3 server, which also serves Google's API, an Azure server, their ports, and an S3 client."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app

    amazon, azure = Faults(let_in(DomainDispatcherApplication(create_backend_app))), Faults(Blobs())
    with serving(amazon) as here, serving(azure) as there:
        login = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{here}", **login)
        yield (amazon, here), (azure, there), client


@pytest.fixture(params=["s3", "gs", "az"])
def store(request, servers, monkeypatch):
    """URL of an empty bucket, and its server."""
    (amazon, here), (azure, there), client = servers
    server = azure if request.param == "az" else amazon
    server.reset()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{here}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_DEFAULT_REGION": "us-east-1",
        "CPL_GS_ENDPOINT": f"http://127.0.0.1:{here}/",
        "GS_NO_SIGN_REQUEST": "YES",
        "GOOGLE_BEARER_TOKEN": "any",  # for writing
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=account;AccountKey={'U0VDUkVU' * 4};"
        f"BlobEndpoint=http://127.0.0.1:{there}/account",
        "GDAL_HTTP_RETRY_DELAY": "0.02",
        "CPL_VSIL_CURL_NON_CACHED": "/vsis3/:/vsigs/:/vsiaz/",  # GDAL's cache would hide failures
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.02)
    remote._store.cache_clear()
    bucket = f"bucket{next(NUMBERS)}"
    if request.param != "az":
        client.create_bucket(Bucket=bucket)
        server.seen.clear()
    return f"{request.param}://{bucket}", server


def scene_folder(tmp_path):
    write_level1(
        SimulatedScene(ramp(), np.zeros((90, 110), bool)), tmp_path / NAME, NAME, grid=geobox(), sun_elevation=50.0
    )
    return tmp_path / NAME


def pixels(source):
    with open_scene(source) as scene:
        return scene.read(Window(0, 0, 110, 90)).data


def test_texts_lists_and_uploads_survive_a_bad_server(store, tmp_path):
    root, server = store
    text = bytes(range(256)) * 40
    (tmp_path / "a b.txt").write_bytes(text)
    server.first(TROUBLE[:3])
    upload(tmp_path / "a b.txt", f"{root}/in/a b.txt")
    for number in range(4):
        upload(tmp_path / "a b.txt", f"{root}/in/deep/{number}.txt")
    upload(tmp_path / "a b.txt", f"{root}/inn.txt")
    server.first(TROUBLE)
    assert read_bytes(f"{root}/in/a b.txt") == text
    server.first(("slow",))
    assert read_bytes(f"{root}/in/a b.txt") == text
    server.first(TROUBLE[:3])
    found = [f"{root}/in/a b.txt", *(f"{root}/in/deep/{number}.txt" for number in range(4))]
    assert sorted(list_files(f"{root}/in/")) == found, "each once"
    assert identity(found[0]) == identity(found[0])
    server.first(TROUBLE)
    with open_file(found[1]) as file:
        assert file.seek(5000) == 5000 and file.read(300) == text[5000:5300]
        assert file.seek(-3, 2) and file.read() == text[-3:] and file.read() == b""
    assert {fault: server.seen[fault] for fault in TROUBLE if not server.seen[fault]} == {}


@pytest.mark.parametrize(
    ("store", "form"),
    [("s3", "tif"), ("s3", "tar"), ("s3", "zip"), ("s3", "folder"), ("gs", "tar"), ("az", "tif")],
    indirect=["store"],
)
def test_pixels_survive_a_bad_server(store, tmp_path, form):
    root, server = store
    folder = scene_folder(tmp_path)
    truth = pixels(folder)
    if form == "tif":
        truth = ramp()
        files = [write_tif(tmp_path / "stack.tif", truth)]
    elif form == "tar":
        with tarfile.open(tmp_path / f"{NAME}.tar", "w") as tar:
            tar.add(folder, NAME)
        files = [tmp_path / f"{NAME}.tar"]
    elif form == "zip":
        files = [tmp_path / f"{NAME}.zip"]
        with zipfile.ZipFile(files[0], "w") as packed:
            for file in folder.iterdir():
                packed.write(file, file.name)
    else:
        files = sorted(folder.iterdir())
    for file in files:
        upload(file, f"{root}/in/{NAME}/{file.name}" if form == "folder" else f"{root}/in/{file.name}")
    (found,) = find_scenes([f"{root}/in/"])
    assert found.name == ("stack" if form == "tif" else NAME)
    print_ = fingerprint(found.source)
    server.first(TROUBLE)
    np.testing.assert_array_equal(pixels(found.source), truth)
    server.first(("slow",) * 3)
    np.testing.assert_array_equal(pixels(found.source), truth)
    assert fingerprint(found.source) == print_
    assert all(server.seen[fault] for fault in TROUBLE)


def test_a_server_that_stays_bad_is_one_line_without_secrets(store, tmp_path):
    root, server = store
    (tmp_path / "a.txt").write_bytes(b"text")
    write_tif(tmp_path / "a.tif", ramp())
    upload(tmp_path / "a.tif", f"{root}/a.tif")
    with pytest.raises(SceneNotFoundError, match=f"{root}/none: not found"):
        read_bytes(f"{root}/none")
    with pytest.raises(SceneReadError, match=r"none\.tif"):
        open_scene(f"{root}/none.tif")
    server.fault = lambda environ: "busy"
    for call, wanted in (
        (lambda: read_bytes(f"{root}/a.tif"), SceneReadError),
        (lambda: identity(f"{root}/a.tif"), SceneReadError),
        (lambda: list_files(f"{root}/"), SceneReadError),
        (lambda: open_scene(f"{root}/a.tif"), SceneReadError),
        (lambda: upload(tmp_path / "a.txt", f"{root}/b.txt"), OutputError),
    ):
        with pytest.raises(wanted) as caught:
            call()
        said = str(caught.value)
        assert said.startswith(f"{root}/") and "\n" not in said and len(said) < 500
        assert "503" in said or "a.tif: cannot be opened" in said
        assert "SECRET" not in said and "U0VDUkVU" not in said
    server.reset()
    assert list_files(f"{root}/") == [f"{root}/a.tif"], "nothing half-written"


@pytest.mark.parametrize("store", ["s3", "az"], indirect=True)
def test_a_sentinel_2_archive_and_a_stac_item(store, tmp_path):
    root, _ = store
    safe = write_safe(tmp_path, numbers(ramp()), L2A)
    packed = shutil.make_archive(str(tmp_path / L2A), "zip", tmp_path, safe.name)
    upload(tmp_path / packed, f"{root}/s2/{L2A}.zip")
    np.testing.assert_array_equal(pixels(f"{root}/s2/{L2A}.zip"), pixels(safe))

    tif = write_tif(tmp_path / "s.tif", ramp())
    upload(tif, f"{root}/data/s.tif")
    bands = [{"name": n, "eo:common_name": n} for n in ("red", "green", "blue", "nir")]
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "far", "geometry": None, "links": []}
    item["properties"] = {"datetime": "2024-07-01T10:00:00Z"}
    item["assets"] = {"all": {"href": "../data/s.tif", "bands": bands}}
    (tmp_path / "far.json").write_text(json.dumps(item))
    upload(tmp_path / "far.json", f"{root}/items/far.json")
    (found,) = find_scenes([f"{root}/items/far.json"])
    np.testing.assert_array_equal(pixels(found.source), ramp())


@pytest.mark.parametrize("store", ["s3"], indirect=True)
@pytest.mark.parametrize(
    ("variables", "key", "payer"),
    [
        ({"AWS_PROFILE": "mine"}, "KEYOFPROFILE", None),
        ({"AWS_NO_SIGN_REQUEST": "YES"}, None, None),
        ({"AWS_REQUEST_PAYER": "requester"}, "any", "requester"),
    ],
)
def test_gdal_and_obstore_log_in_alike(store, tmp_path, monkeypatch, variables, key, payer):
    root, server = store
    upload(write_tif(tmp_path / "a.tif", ramp()), f"{root}/a.tif")
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = KEYOFPROFILE\naws_secret_access_key = SECRET\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if "AWS_PROFILE" in variables:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    remote._session.cache_clear()  # sessions are cached, because files rarely change during a run
    seen = set()

    def look(environ):
        signed = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        seen.add((signed or None, environ.get("HTTP_X_AMZ_REQUEST_PAYER")))

    server.fault = look
    list_files(f"{root}/"), read_bytes(f"{root}/a.tif"), identity(f"{root}/a.tif")
    told, seen = seen, set()
    np.testing.assert_array_equal(pixels(f"{root}/a.tif"), ramp())
    assert told == seen == {(key, payer)}


@pytest.mark.parametrize("store", ["az"], indirect=True)
def test_archives_that_cannot_be_read_in_place(store, tmp_path):
    root, _ = store
    (tmp_path / "a.tar").write_bytes(b"no archive")
    for name, reason, failure in (("a.tar", "damaged or cut off", PASSING), ("a.tar.gz", "compressed as", BAD_INPUT)):
        upload(tmp_path / "a.tar", f"{root}/{name}")
        with pytest.raises(SceneError, match=f"{root}/{name}: {reason}"):
            open_scene(f"{root}/{name}")
        assert run_job(Job("a", f"{root}/{name}", tmp_path, BatchOptions()), None).failure == failure  # retried, or not


def test_a_web_server_that_cuts_and_one_that_sends_no_parts(servers, tmp_path, monkeypatch):
    (server, port), _, client = servers
    server.reset()
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.02)
    client.create_bucket(Bucket="web")
    client.put_object(Bucket="web", Key="a.txt", Body=b"0123456789" * 50)
    server.first(TROUBLE)
    assert read_bytes(f"http://127.0.0.1:{port}/web/a.txt?sig=SECRET") == b"0123456789" * 50
    server.fault = lambda environ: "cut"
    with pytest.raises(SceneReadError, match="cannot be read") as caught:
        read_bytes(f"http://127.0.0.1:{port}/web/a.txt?sig=SECRET")
    assert "SECRET" not in str(caught.value)

    def whole(environ, start):
        start("200 OK", [("Content-Length", "4")])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else b"text"]

    with serving(whole) as port, pytest.raises(GeocloudError, match="does not support range requests"):
        open_scene(f"http://127.0.0.1:{port}/a.tar")


def test_the_region_of_a_bucket_is_found(monkeypatch):
    def amazon(environ, start):
        start("403 Forbidden", [("x-amz-bucket-region", "eu-central-1"), ("Content-Length", "0")])
        return [b""]

    remote._region.cache_clear()
    with serving(amazon) as port:
        monkeypatch.setattr(remote, "AMAZON", f"http://127.0.0.1:{port}")
        assert remote._region("far") == "eu-central-1"
    assert remote._region("far") == "eu-central-1", "asked once"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert remote._region("gone") == "us-west-2", "nobody there"
    remote._region.cache_clear()
