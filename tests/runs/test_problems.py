"""Errors of workers, Java and storage in our words. The texts are what Spark 4.1, Java 17 and s3fs said."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest
from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from py4j.java_gateway import GatewayParameters, JavaGateway
from py4j.protocol import Py4JNetworkError

from spark_imgdedup.errors import ConfigError, ModelError, SparkError, StorageError
from spark_imgdedup.runs.problems import errors_in_our_words, in_our_words

DEAD = (
    "An error occurred while calling o45.collectToPython.\n: org.apache.spark.SparkException: Job aborted due to stage "
    "failure: Task 0 in stage 0.0 failed 2 times, most recent failure: Lost task 0.1 in stage 0.0 (TID 1) (10.0.0.2 "
    "executor driver): org.apache.spark.SparkException: Python worker exited unexpectedly (crashed). Consider setting "
    "'spark.python.worker.faulthandler.enabled'\n\tat org.apache.spark.api.python.BasePythonRunner\nCaused by: "
    "java.io.EOFException\n"
)
NO_DELTA = (
    "An error occurred while calling o40.save.\n: org.apache.spark.SparkClassNotFoundException: [DATA_SOURCE_NOT_"
    "FOUND] Failed to find the data source: delta. Make sure the provider name is correct. SQLSTATE: 42K02\n\tat "
    "org.apache.spark\nCaused by: java.lang.ClassNotFoundException: delta.DefaultSource\n"
)
NO_CLASS = (
    "An error occurred while calling None.org.apache.spark.api.java.JavaSparkContext.\n: "
    "java.lang.ClassNotFoundException: no.such.Plugin\n\tat java.base/java.net.URLClassLoader\n"
)
WORKER = "\n  An exception was thrown from the Python worker.\nTraceback (most recent call last):\n  File x, line 2\n"
FOOTER = (
    "An error occurred while calling o77.count.\n: org.apache.spark.SparkException: [CANNOT_READ_FILE_FOOTER] Could "
    "not read footer for file: file:/w/duplicates/part-0-c0.snappy.parquet. Please ensure that the file is in either "
    "ORC or Parquet format.\nCaused by: java.lang.RuntimeException: it is too small to be a Parquet file"
)
# S3A 3.4.2 where the connection was closed before the answer to HEAD.
S3A_NULL = (
    "An error occurred while calling o301.collectToPython.\n: org.apache.spark.SparkException: Job aborted: "
    "failure: x\n\tat org.apache.spark.scheduler.Task.run(Task.scala:147)\n"
    "Caused by: java.lang.NullPointerException\n"
    "\tat org.apache.hadoop.fs.s3a.S3AFileSystem.s3GetFileStatus(S3AFileSystem.java:4102)\n\t... 21 more\n"
)
S3A_SOCKET = (
    ": java.net.SocketException: Broken pipe\n\tat java.base/sun.nio.ch.NioSocketImpl.implWrite(N.java:420)\n"
    "\tat org.apache.hadoop.fs.s3a.WriteOperationHelper.retry(WriteOperationHelper.java:207)\n"
)
CHECKSUM = "org.apache.hadoop.fs.ChecksumException: Checksum error: file:/w/duplicates/part-0.parquet at 0 exp: 1"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("spark_imgdedup.errors.ConfigError: wrong", ConfigError, "wrong"),
        ("Traceback\n  File x\nspark_imgdedup.errors.ModelError: one\n\nmore\n", ModelError, "one"),
        (WORKER + "OSError: [Errno 28] No space left on device\n", StorageError, "A disk is full: No space left"),
        (": java.io.IOException: No space left on device\n\tat java.base", StorageError, "A disk is full: java.io"),
        (WORKER + "PermissionError: [Errno 13] Permission denied: '/x/y'\n", StorageError, "Permission denied: '/x/y'"),
        (": java.io.FileNotFoundException: /o/a (Read-only file system)\n", StorageError, "java.io.FileNotFound"),
        (WORKER + "PermissionError: Access Denied\n", ConfigError, "The store refused or did not answer"),
        (
            WORKER + "aiohttp.client_exceptions.ClientPayloadError: Response payload is not completed\n",
            ConfigError,
            "The store refused or did not answer: aiohttp.client_exceptions.ClientPayloadError: Response payload is",
        ),
        (
            "org.apache.spark.SparkException: Job aborted\n"
            "Caused by: software.amazon.awssdk.thirdparty.org.apache.http."
            "ConnectionClosedException: Premature end of Content-Length delimited message body (expected: 3,450; "
            "received: 1,886)\n\tat java.base/java.lang.Thread.run(Thread.java:840)",
            StorageError,
            "The store broke off its answer to Spark's JVM: Premature end of Content-Length delimited message body "
            "(expected: 3,450; received: 1,886). Run again",
        ),
        (
            S3A_NULL,
            StorageError,
            "The store broke off its answer to Spark's JVM: java.lang.NullPointerException. Run again",
        ),
        (
            S3A_SOCKET,
            StorageError,
            "The store broke off its answer to Spark's JVM: java.net.SocketException: Broken pipe.",
        ),
        (DEAD, SparkError, "A Python worker of Spark died"),
        (": java.lang.OutOfMemoryError: Java heap space\n\tat x", SparkError, "Spark's JVM ran out of memory"),
        (NO_DELTA, SparkError, "This Spark session has no format 'delta'"),
        (NO_CLASS, SparkError, "Spark's JVM has no class no.such.Plugin"),
        ("org.apache.spark.SparkException: Could not parse Master URL: 'x'", ConfigError, "spark.master: 'x' is no"),
        ("All masters are unresponsive! Giving up.", ConfigError, "spark.master: no master answers"),
        (FOOTER, StorageError, "/w/duplicates/part-0-c0.snappy.parquet is damaged: cut off, or changed"),
        (CHECKSUM, StorageError, "/w/duplicates/part-0.parquet is damaged"),
        ("java.lang.RuntimeException: x is not a Parquet file. Expected magic", StorageError, "a file that Spark was"),
        ("[JAVA_GATEWAY_EXITED] Java gateway process exited", ConfigError, "Spark's JVM ended while it started"),
    ],
)
def test_what_spark_and_java_say_becomes_one_line(text, kind, words):
    found = in_our_words(RuntimeError(text))

    assert type(found) is kind
    assert str(found).startswith(words)
    assert len(str(found).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("pydantic.ValidationError: wrong", "a ConfigError: in prose", "KeyError: 'x'"),
        ": java.lang.NullPointerException\n\tat org.apache.spark.sql.Dataset.x(Dataset.scala:1)\n",
        ": java.io.FileNotFoundException: s3a://b/x\n\tat org.apache.hadoop.fs.s3a.S3AFileSystem.open(S3A.java:1)\n",
        *("FileNotFoundError: [Errno 2] No such file or directory: 'x'", "spark_imgdedup.errors.printableError: x"),
    ],
)
def test_what_may_be_a_fault_of_ours_keeps_its_traceback(text):
    assert in_our_words(RuntimeError(text)) is None
    with pytest.raises(RuntimeError), errors_in_our_words():
        raise RuntimeError(text)


def test_a_refusal_of_this_machine_is_none_of_a_store():
    local = in_our_words(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/in/a.tar"))
    store = in_our_words(PermissionError("Access Denied"))

    assert type(local) is StorageError
    assert str(local).startswith("Permission denied: '/data/in/a.tar'. Check who may read and write there")
    assert str(store).startswith(
        "The store refused or did not answer: PermissionError: Access Denied. Check the bucket"
    )


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("is_pinned", [False, True])  # Py4J's two ways, each with an error of its own
def test_a_jvm_that_is_not_there_any_more_is_a_line(is_pinned):
    if is_pinned:
        gateway = ClientServer(JavaParameters(port=free_port()), PythonParameters(port=0, daemonize=True))
    else:
        gateway = JavaGateway(gateway_parameters=GatewayParameters(port=free_port()))
    try:
        with pytest.raises(SparkError, match=r"Spark's JVM has died\.") as caught, errors_in_our_words():
            gateway.jvm.java.lang.System.nanoTime()
    finally:
        gateway.shutdown()

    assert type(caught.value.__cause__) is (ConnectionRefusedError if is_pinned else Py4JNetworkError)


HANGS_UP = """
import socket, struct, threading
from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from spark_imgdedup import console

listening = socket.create_server(("127.0.0.1", 0))

def hang_up():
    one, _ = listening.accept()
    one.recv(1000)
    listening.close()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # in the middle of an answer
    one.close()

threading.Thread(target=hang_up, daemon=True).start()
port = listening.getsockname()[1]
python = PythonParameters(port=0, daemonize=True, daemonize_connections=True)
gateway = ClientServer(JavaParameters(port=port), python)
console.log_to_stderr()
console.guarded(lambda: gateway.entry_point.count())
"""


def test_a_jvm_that_dies_while_it_is_asked_is_a_line_and_nothing_else_is_printed():
    done = subprocess.run([sys.executable, "-c", HANGS_UP], capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 2
    assert [line.split(".")[0] for line in done.stderr.splitlines()] == ["SparkError: Spark's JVM has died"]


def test_a_connection_that_somebody_else_cuts_is_no_dead_jvm():
    with pytest.raises(ConnectionRefusedError), errors_in_our_words(), socket.socket() as ours:
        ours.connect(("127.0.0.1", free_port()))


def test_what_was_raised_stays_as_the_cause():
    raised = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "o/a.tar")

    full = r"A disk is full: No space left on device: 'o/a\.tar'"
    with pytest.raises(StorageError, match=full) as caught, errors_in_our_words():
        raise raised

    assert caught.value.__cause__ is raised
