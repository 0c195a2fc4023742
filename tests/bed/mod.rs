//! The test bed: a real Kafka broker, the real ClickHouse engine, and DuckDB as an independent oracle.
//!
//! Nothing here is a stand-in. Exactly-once holds or breaks in the broker's transactions and in the
//! store's deduplication, and a mock has neither. No containers and no system packages are needed:
//! [`Kafka`] runs the broker's own jars on the Java at hand, and [`ClickHouse`] runs the embedded engine
//! behind `clickhouse_front.py`, which speaks the server's HTTP interface. [`duckdb`] computes the same
//! answer with an engine that shares no code with ours.
//!
//! What is fetched is fetched once, into `$TIERWATCH_BED` or `~/.cache/tierwatch/bed`. Every server
//! listens on loopback, keeps its data in a temporary folder, and ends with the test process, also when
//! that one is killed.

#![allow(dead_code, reason = "a build of the tests need not use every part")]

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How many partitions the broker has for the positions of groups.
pub(crate) const POSITIONS_PARTITIONS: i32 = 5;
const KAFKA: &str = "4.3.0";
const CHDB_CORE: &str = "26.9.0";
const DUCKDB: &str = "2.0.0";

/// A JVM that starts with 60% of the work: no optimising compiler, no parallel collector. Of the broker's
/// talk only warnings are kept, and the line that says it is up.
const JVM: [&str; 5] = [
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
];

/// Runs "$@" until standard input says `stop` (as a crash would), says `end` (as an orchestrator would, which
/// waits for half a minute), or closes. When it closes without a word the test process is gone, and the folder
/// $DIR goes as well. Signals meant for the tests, as of Ctrl-C, do not count.
const KEEPER: &str = r#"
trap '' INT HUP
exec 3<&0
"$@" 3<&- & pid=$!
{
    read -r word <&3
    if [ "$word" = end ]; then
        kill $pid
        tries=600
        while kill -0 $pid 2>/dev/null && [ $tries -gt 0 ]; do tries=$((tries - 1)); sleep 0.05; done
        word=stop
    fi
    [ -e "$DIR/ended" ] || kill -9 $pid
    [ "$word" = stop ] && exit
    while kill -0 $pid 2>/dev/null; do sleep 0.05; done
    rm -rf "$DIR"
} &
wait $pid
code=$?
: >"$DIR/ended"
exit $code
"#;

/// One Kafka node, broker and controller in one, with nothing in it. Dropping it ends it.
pub(crate) struct Kafka {
    /// What clients take as `bootstrap.servers`.
    pub(crate) brokers: String,
    dir: PathBuf,
    libs: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Kafka {
    /// Starts a broker and waits until it answers, about two seconds.
    pub(crate) fn start() -> Kafka {
        let libs = kafka_libs();
        let dir = temporary_folder("kafka");
        let (port, controller) = (free_port(), free_port());
        let brokers = format!("127.0.0.1:{port}");
        let mut kafka = Kafka { brokers, dir, libs, port, child: None };
        kafka.format(controller);
        kafka.launch();
        kafka
    }

    /// Kills the broker as a crash would. Its data and its port stay for [`Kafka::restart`].
    pub(crate) fn stop(&mut self) {
        self.leave(b"stop\n");
    }

    /// Asks the broker to end, and waits until it has: it closes its files. Both stay for [`Kafka::restart`].
    pub(crate) fn end(&mut self) {
        self.leave(b"end\n");
    }

    fn leave(&mut self, word: &[u8]) {
        if let Some(mut child) = self.child.take() {
            if let Some(mut stdin) = child.stdin.take() {
                // The keeper is gone already if the broker had ended by itself.
                let _ = stdin.write_all(word);
            }
            child.wait().expect("the keeper of the broker is our child and can be waited for");
        }
    }

    /// What the broker has said since it was started, and before.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        logs(&self.dir)
    }

    /// Stops the broker if it runs, and starts it on the same port with the same data. It takes
    /// four seconds: the controller waits out the killed broker's session of three.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// The folder of the broker's log segments.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Segments of positions are as small as may be and soon compacted, so that a restarted broker has them read within
    /// milliseconds: one that was killed loads them twice, and when the first loading lasts until the second, 4.3 takes
    /// the half-read second for whole (the end of a loading is not matched with the loading it ends). It may answer no
    /// group of that partition from then on, until it is started again.
    fn format(&self, controller: u16) {
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             broker.heartbeat.interval.ms=300\n\
             broker.session.timeout.ms=3000\n\
             listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{controller}\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             message.max.bytes=10485760\n\
             replica.fetch.max.bytes=10485760\n\
             offsets.topic.num.partitions={POSITIONS_PARTITIONS}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.segment.bytes=1048576\n\
             log.cleaner.backoff.ms=1000\n\
             transaction.state.log.num.partitions=5\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            self.port,
            self.data().display(),
        );
        let file = self.dir.join("server.properties");
        fs::write(&file, properties).expect("the temporary folder takes the broker's settings");
        let id = "dGllcndhdGNoLXRlc3QtMQ"; // any 16 bytes, in base64
        run(self.java("kafka.tools.StorageTool").args(["format", "-t", id, "-c"]).arg(&file), JAVA);
    }

    fn launch(&mut self) {
        let log = next_log(&self.dir);
        let output = File::create(&log).expect("the temporary folder takes the broker's log");
        let _ = fs::remove_file(self.dir.join("ended"));
        let java = self.java("kafka.Kafka");
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(java.get_program()).args(java.get_args());
        keeper.arg(self.dir.join("server.properties")).env("DIR", &self.dir);
        let child = self.child.insert(spawn(&mut keeper, output));
        wait_for("Kafka Server started", child, &log, self.port);
    }

    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(JVM).arg("-cp").arg(self.libs.join("*")).arg(class);
        java
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A ClickHouse of its own, empty. Dropping it ends it.
pub(crate) struct ClickHouse {
    /// What clients take as the server's address. Compression must be off in them.
    pub(crate) url: String,
    dir: PathBuf,
    python: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl ClickHouse {
    /// Starts the engine and waits until it answers, about a second.
    pub(crate) fn start() -> ClickHouse {
        // Its data frames want pandas and pyarrow, 300 MB of them; the engine does not.
        let python = python_with("chdb-core", CHDB_CORE, "181 MB", &["--no-deps"]);
        let dir = temporary_folder("clickhouse");
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        fs::write(dir.join("front.py"), include_str!("clickhouse_front.py"))
            .expect("the temporary folder takes the front");
        let mut clickhouse = ClickHouse { url, dir, python, port, child: None };
        clickhouse.start_again();
        clickhouse
    }

    /// Kills the server as a crash would. Its data and its port stay for [`ClickHouse::start_again`].
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the front is our child and can be killed");
            child.wait().expect("the front is our child and can be waited for");
        }
    }

    /// Makes the server stand still: it takes connections, and answers none.
    pub(crate) fn stand_still(&self) {
        let pid = self.child.as_ref().expect("the front runs").id().to_string();
        run(Command::new("kill").args(["-STOP", &pid]), "`kill` stops the front: install it (Debian: procps)");
    }

    /// Starts the stopped server on the same port with the same data.
    pub(crate) fn start_again(&mut self) {
        self.stop();
        let log = next_log(&self.dir);
        let output = File::create(&log).expect("the temporary folder takes the front's log");
        let mut front = Command::new(&self.python);
        front.arg(self.dir.join("front.py")).arg("--temporary").arg("--path").arg(&self.dir);
        front.arg("--port").arg(self.port.to_string());
        let child = self.child.insert(spawn(&mut front, output));
        wait_for(&format!("ready {}", self.port), child, &log, self.port);
    }

    /// What the server has said since it was started, and before.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        logs(&self.dir)
    }

    /// Runs one statement and returns its answer, tab-separated unless it names a format. Panics with
    /// the server's words if it fails.
    pub(crate) fn query(&self, sql: &str) -> String {
        let (status, body) = post(self.port, sql).expect("ClickHouse is up and answers");
        assert!(status == 200, "ClickHouse refused a statement with status {status}: {body}{sql}");
        body
    }

    /// The lines of [`ClickHouse::query`].
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        self.query(sql).lines().map(str::to_owned).collect()
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Runs a Python script that may `import duckdb`, and returns what it printed. Panics if it fails.
pub(crate) fn duckdb(script: &str) -> String {
    let python = python_with("duckdb", DUCKDB, "24 MB", &[]);
    run(Command::new(python).args(["-c", script]), PYTHON)
}

/// A port on loopback that nothing listens on, never the same one twice in this process.
///
/// Ports that the system gives to outgoing connections are avoided: while a server is down, a client
/// that tries again and again could otherwise be given the server's own port, and connect to itself.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const SPAN: u16 = 15_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each process begins elsewhere.
    let start = process::id().wrapping_mul(7919) % u32::from(SPAN);
    for _ in 0..SPAN {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + ((start + step) % u32::from(SPAN)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 from {FIRST} on");
}

const JAVA: &str = "`java` runs the Kafka broker: install Java 17 or newer (Debian: openjdk-17-jre-headless)";
const MAVEN: &str = "`mvn` fetches the Kafka broker: install Maven (Debian: maven)";
const PYTHON: &str = "`python3` with venv runs ClickHouse and DuckDB: install it (Debian: python3-venv)";

/// Runs a command to its end and returns its output. `needs` says what to install if it is missing.
fn run(command: &mut Command, needs: &str) -> String {
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => panic!("{needs}"),
        other => other.unwrap_or_else(|error| panic!("{command:?} did not run: {error}")),
    };
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let program = command.get_program().display();
    assert!(output.status.success(), "{program} failed, {}:\n{out}{err}", output.status);
    out
}

/// Starts a server that ends when our end of its standard input closes.
fn spawn(command: &mut Command, log: File) -> Child {
    let errors = log.try_clone().expect("a log file can be shared");
    command.stdin(Stdio::piped()).stdout(log).stderr(errors);
    command.spawn().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"))
}

/// The logs in a server's folder, one for each start.
fn logs(dir: &Path) -> Vec<PathBuf> {
    (0..).map(|number| dir.join(format!("log-{number}"))).take_while(|log| log.exists()).collect()
}

fn next_log(dir: &Path) -> PathBuf {
    dir.join(format!("log-{}", logs(dir).len()))
}

/// Waits until the log has the line and the port answers; panics with the end of the log otherwise.
#[allow(clippy::disallowed_methods, reason = "how long a server may take to start is real time")]
fn wait_for(line: &str, child: &mut Child, log: &Path, port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let begin = Instant::now();
    loop {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        if text.contains(line) && TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return;
        }
        let ended = child.try_wait().expect("a server is our child and can be asked for its state");
        if ended.is_some() || begin.elapsed() > Duration::from_secs(60) {
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            let what = ended.map_or("is not up after 60 s".to_owned(), |status| format!("ended, {status}"));
            panic!("the server on {address} {what}. The end of its log:\n{tail}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// One statement by HTTP: the status and the body of the answer.
fn post(port: u16, sql: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let length = sql.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{sql}")?;
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.read_to_end(&mut answer)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not whole");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut rest = &answer[end + 4..];
    let mut body = Vec::new();
    if header("transfer-encoding:") == Some("chunked") {
        loop {
            let end = rest.windows(2).position(|window| window == b"\r\n").ok_or_else(bad)?;
            let size = String::from_utf8_lossy(&rest[..end]);
            let size = usize::from_str_radix(&size, 16).map_err(|_| bad())?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(rest.get(end + 2..end + 2 + size).ok_or_else(bad)?);
            rest = rest.get(end + 4 + size..).ok_or_else(bad)?;
        }
    } else {
        let length = header("content-length:").and_then(|text| text.parse().ok()).unwrap_or(rest.len());
        body.extend_from_slice(rest.get(..length).ok_or_else(bad)?);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// An empty folder that no other test has.
fn temporary_folder(what: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("tierwatch-{what}-{}-{number}", process::id()));
    let _ = fs::remove_dir_all(&dir); // of an earlier process with our id
    fs::create_dir_all(&dir).expect("the system's folder for temporary files can be written");
    dir
}

/// The folder of what was fetched.
#[allow(clippy::disallowed_methods, reason = "where to keep it is no setting of Tierwatch")]
fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("TIERWATCH_BED").unwrap_or_else(|| {
        let home = || set("HOME").expect("TIERWATCH_BED or HOME says where to keep what the tests fetch");
        set("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("tierwatch/bed")
    });
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{} cannot be made: {error}", dir.display()));
    dir
}

/// Makes `marker` by `fetch` unless it is there; of several processes only one fetches.
fn once(name: &str, marker: &Path, fetch: impl FnOnce()) {
    if marker.exists() {
        return;
    }
    let lock = File::create(cache().join(format!("{name}.lock"))).expect("the cache folder can be written");
    lock.lock().expect("a file in the cache folder can be locked");
    if !marker.exists() {
        fetch();
    }
}

/// The folder of the broker's jars.
fn kafka_libs() -> PathBuf {
    let (done, part) = (cache().join(format!("kafka-{KAFKA}")), cache().join(format!("kafka-{KAFKA}.part")));
    once("kafka", &done, || {
        progress(&format!("fetching Apache Kafka {KAFKA} (44 MB, once) ..."));
        let _ = fs::remove_dir_all(&part); // of a fetch that was cut short
        fs::create_dir_all(&part).expect("the cache folder can be written");
        let pom = part.join("pom.xml");
        fs::write(&pom, include_str!("pom.xml")).expect("the cache folder can be written");
        let libs = format!("-DoutputDirectory={}", part.join("libs").display());
        run(Command::new("mvn").args(["-B", "-q", "-f"]).arg(pom).args(["dependency:copy-dependencies", &libs]), MAVEN);
        fs::rename(&part, &done).expect("a folder can be renamed within the cache folder");
    });
    done.join("libs")
}

/// A Python that has the package, in an environment of its own.
fn python_with(package: &str, version: &str, size: &str, options: &[&str]) -> PathBuf {
    let dir = cache().join(format!("{package}-{version}"));
    let python = dir.join("bin/python");
    // An environment cannot be renamed, so a file tells that it is whole.
    let ready = dir.join(".ready");
    once(package, &ready, || {
        progress(&format!("fetching {package} {version} ({size}, once) ..."));
        let _ = fs::remove_dir_all(&dir); // of a fetch that was cut short
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir), PYTHON);
        let what = format!("{package}=={version}");
        run(Command::new(&python).args(["-m", "pip", "install", "-q", &what]).args(options), PYTHON);
        File::create(&ready).expect("the cache folder can be written");
    });
    python
}

fn progress(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
