"""conf/k8s agrees with itself and with the repository. No Kubernetes runs it here."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import spark_imgdedup
from spark_imgdedup.config import parse_config

ROOT = Path(spark_imgdedup.__file__).parent.parent


@pytest.fixture(scope="module")
def objects():
    documents = yaml.safe_load_all((ROOT / "conf/k8s/dedup.yaml").read_text())
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


@pytest.fixture(scope="module")
def pod(objects):
    return objects["Job", "dedup"]["spec"]["template"]["spec"]


def conf_of(pod):
    args = pod["containers"][0]["args"]
    return dict(value.split("=", 1) for option, value in pairwise(args) if option == "--conf")


def test_the_settings_in_it_are_valid_and_lie_on_the_volume_that_driver_and_executors_mount(objects, pod):
    config = parse_config(yaml.safe_load(objects["ConfigMap", "dedup"]["data"]["dedup.yaml"]))
    (mount,) = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "data"]
    volume = "spark.kubernetes.executor.volumes.persistentVolumeClaim.data"

    assert conf_of(pod)[f"{volume}.mount.path"] == mount
    assert ("PersistentVolumeClaim", conf_of(pod)[f"{volume}.options.claimName"]) in objects
    for path in (*config.input.paths, config.work_dir, config.output.path):
        assert path.startswith(f"{mount}/")


def test_the_driver_is_where_its_executors_look_for_it(objects, pod):
    service = objects["Service", "dedup-driver"]["spec"]
    labels = objects["Job", "dedup"]["spec"]["template"]["metadata"]["labels"]
    ports = {str(port["port"]) for port in service["ports"]}

    assert service["selector"].items() <= labels.items()
    assert {conf_of(pod)["spark.driver.port"], conf_of(pod)["spark.driver.blockManager.port"]} == ports
    assert conf_of(pod)["spark.driver.host"].startswith("dedup-driver.")
    assert ("ServiceAccount", pod["serviceAccountName"]) in objects


def test_driver_and_executors_run_the_image_that_the_dockerfile_says_how_to_build(pod):
    dockerfile = (ROOT / "conf/k8s/Dockerfile").read_text()
    image = pod["containers"][0]["image"]

    assert conf_of(pod)["spark.kubernetes.container.image"] == image
    assert f"-t {image} ." in dockerfile
    assert image.endswith(f":{spark_imgdedup.__version__}")


def test_the_dockerfile_copies_what_exists_and_the_job_is_what_it_copied():
    dockerfile = (ROOT / "conf/k8s/Dockerfile").read_text()
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)]
    (job,) = re.findall(r"- /opt/imgdedup/(\S+)", (ROOT / "conf/k8s/dedup.yaml").read_text())

    assert all((ROOT / name).exists() for names in copied for name in names)
    assert (ROOT / job).is_file()
    assert ["jobs"] in copied
    assert "WORKDIR /opt/imgdedup" in dockerfile
