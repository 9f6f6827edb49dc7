//! `inferenceconfig.json` of the original: the entry script, its folder and its
//! environment, and the command that runs them.
//!
//! Builds no image and installs nothing; what an image had is said in comments.
//! Used by `import`.

use std::path::Path;

use crate::resource::Source;

use super::source::{Setting, Settings, Wants, kept, lost};
use super::yaml::{Map, Value};

const IMAGE: &str =
    "no image is built or pulled; the model server runs in this machine's own environment";
const ELSEWHERE: &str = "replicas are plain processes; nothing of it is set up here";

/// Every setting (facts of the original's client, `InferenceConfig` and `Environment`).
const TABLE: &[Setting] = &[
    kept("entryScript", Wants::Text),
    kept("sourceDirectory", Wants::Text),
    lost(
        "description",
        Wants::Text,
        "of the image, which is not built",
    ),
    lost(
        "environment.name",
        Wants::Text,
        "environments of a workspace are not fetched",
    ),
    lost(
        "environment.version",
        Wants::Any,
        "environments of a workspace are not fetched",
    ),
    kept("environment.environmentVariables", Wants::Texts),
    lost(
        "environment.inferencingStackVersion",
        Wants::Any,
        "the model server is the azmlinfsrv that is installed",
    ),
    lost(
        "environment.python.userManagedDependencies",
        Wants::Flag,
        "dependencies are always yours to install here",
    ),
    kept("environment.python.interpreterPath", Wants::Text),
    kept("environment.python.condaDependenciesFile", Wants::Text),
    kept("environment.python.condaDependencies", Wants::Any),
    lost(
        "environment.python.baseCondaEnvironment",
        Wants::Text,
        IMAGE,
    ),
    lost("environment.docker.enabled", Wants::Flag, IMAGE),
    lost("environment.docker.baseImage", Wants::Text, IMAGE),
    lost("environment.docker.baseDockerfile", Wants::Text, IMAGE),
    lost(
        "environment.docker.baseImageRegistry.address",
        Wants::Text,
        IMAGE,
    ),
    lost(
        "environment.docker.baseImageRegistry.username",
        Wants::Text,
        IMAGE,
    ),
    lost(
        "environment.docker.baseImageRegistry.password",
        Wants::Secret,
        IMAGE,
    ),
    lost(
        "environment.docker.baseImageRegistry.registryIdentity",
        Wants::Any,
        IMAGE,
    ),
    lost("environment.docker.platform", Wants::Any, IMAGE),
    lost("environment.docker.sharedVolumes", Wants::Flag, IMAGE),
    lost("environment.docker.shmSize", Wants::Text, IMAGE),
    lost("environment.docker.gpuSupport", Wants::Flag, IMAGE),
    lost("environment.docker.arguments", Wants::Any, IMAGE),
    lost("environment.spark", Wants::Any, ELSEWHERE),
    lost("environment.databricks", Wants::Any, ELSEWHERE),
    lost("environment.r", Wants::Any, ELSEWHERE),
    kept("runtime", Wants::Text),
    kept("condaFile", Wants::Text),
    lost("extraDockerfileSteps", Wants::Text, IMAGE),
    lost("extraDockerFileSteps", Wants::Text, IMAGE),
    lost(
        "enableGpu",
        Wants::Flag,
        "a process sees the GPUs that the machine has",
    ),
    lost("cudaVersion", Wants::Any, "CUDA is what the machine has"),
    lost("baseImage", Wants::Text, IMAGE),
    lost("baseImageRegistry", Wants::Text, IMAGE),
    lost("baseImageRegistry.address", Wants::Text, IMAGE),
    lost("baseImageRegistry.username", Wants::Text, IMAGE),
    lost("baseImageRegistry.password", Wants::Secret, IMAGE),
];

/// Settings of the time before `environment`, which excludes them.
const LEGACY: [&str; 11] = [
    "runtime",
    "condaFile",
    "extraDockerfileSteps",
    "extraDockerFileSteps",
    "enableGpu",
    "cudaVersion",
    "baseImage",
    "baseImageRegistry",
    "baseImageRegistry.address",
    "baseImageRegistry.username",
    "baseImageRegistry.password",
];

/// The script of which nothing is known.
const SCRIPT_DEFAULT: &str = "score.py";

/// What the model server is given, read and checked.
#[derive(Debug)]
pub(super) struct Inference {
    /// What the file says.
    pub(super) settings: Settings,
    /// Whether there is a file.
    pub(super) given: bool,
}

impl Inference {
    /// Where there is no file: a script of the usual name.
    pub(super) fn of_no_file() -> Self {
        Self {
            settings: Settings::none(),
            given: false,
        }
    }

    /// Reads a file; its problems are in the settings.
    pub(super) fn read(source: &Source) -> Self {
        let mut settings = Settings::read(source, TABLE);
        check(&mut settings);
        settings.sort();
        Self {
            settings,
            given: true,
        }
    }

    /// The script below its folder.
    pub(super) fn script(&self) -> &str {
        self.settings.text("entryScript").unwrap_or(SCRIPT_DEFAULT)
    }

    /// `process` of the version, which runs in `dir`; `conda` is the file of its
    /// Python packages, where there is one.
    pub(super) fn process(&self, dir: String, conda: Option<String>, version: &mut Map) {
        let mut process = Map::default();
        let server = match self.settings.text("environment.python.interpreterPath") {
            // The server's program stands beside the interpreter it was installed for.
            Some(python) if python.contains('/') => {
                let folder = Path::new(python).parent().unwrap_or_else(|| Path::new("/"));
                folder.join("azmlinfsrv").display().to_string()
            }
            _ => "azmlinfsrv".to_owned(),
        };
        for note in self.environment_notes(conda) {
            process.note(note);
        }
        if !self.given {
            process.note("No inferenceconfig was given: say here which script is the model's.");
        }
        let script = escaped(self.script());
        let words = [&server, "--entry_script", &script, "--port", "$(PORT)"];
        process.key("command", Value::Texts(words.map(str::to_owned).to_vec()));
        process.text("dir", dir);
        let mut env = Map::default();
        for (name, value) in self.settings.texts("environment.environmentVariables") {
            match name.as_str() {
                "PORT" => env.note("PORT is set by the gateway, another one for each replica."),
                "AZUREML_MODEL_DIR" => env.note(format!(
                    "AZUREML_MODEL_DIR ({value}) is set by the gateway; see modelDir."
                )),
                _ => env.text(&name, escaped(&value)),
            }
        }
        process.map("env", env);
        process.note(
            "The folder of the model, which the script finds as AZUREML_MODEL_DIR; the original fetched it from the \
             workspace:\nmodelDir: model",
        );
        version.map("process", process);
    }

    fn environment_notes(&self, conda: Option<String>) -> Vec<String> {
        let mut notes = vec![
            "azmlinfsrv is looked for on the gateway's PATH: have the model's Python environment there, with \
             azureml-inference-server-http installed, or write the program's whole path."
                .to_owned(),
        ];
        if let Some(file) = conda {
            notes.push(format!("Its packages: conda env create --file {file}"));
        }
        if let Some(packages) = self.settings.any("environment.python.condaDependencies") {
            notes.push(format!("Its packages (condaDependencies): {packages}"));
        }
        if self.settings.text("runtime") == Some("spark-py") {
            notes.push(
                "runtime was spark-py: no Spark is set up here; the script runs as plain Python."
                    .to_owned(),
            );
        }
        notes
    }

    /// The file of Python packages, as it was written.
    pub(super) fn conda(&self) -> Option<&str> {
        let path = "environment.python.condaDependenciesFile";
        self.settings
            .text(path)
            .or_else(|| self.settings.text("condaFile"))
    }
}

/// A text in which the gateway replaces nothing.
fn escaped(text: &str) -> String {
    text.replace("$(", "$$(")
}

fn check(settings: &mut Settings) {
    match settings.text("entryScript").map(str::to_owned) {
        None if settings.problems.is_empty() => {
            settings.tell(
                "entryScript",
                "entryScript is missing; the script with init() and run()",
            );
        }
        None => {}
        Some(script) => {
            if let Some(why) = not_a_script(&script) {
                settings.tell("entryScript", why);
            }
        }
    }
    let modern = settings
        .paths()
        .iter()
        .any(|path| path.starts_with("environment."));
    for path in LEGACY {
        if modern && settings.has(path) {
            settings.tell(
                path,
                format!("environment and {path} exclude each other; leave {path} out"),
            );
        }
    }
    let both = [
        "environment.docker.baseImage",
        "environment.docker.baseDockerfile",
    ];
    if both.iter().all(|path| settings.has(path)) {
        settings.tell(
            "environment.docker.baseDockerfile",
            "baseImage and baseDockerfile exclude each other; leave one of the two out",
        );
    }
    let runtime = settings.text("runtime").map(str::to_owned);
    if let Some(runtime) = runtime.filter(|text| !["python", "spark-py"].contains(&text.as_str())) {
        settings.tell(
            "runtime",
            format!("{runtime:?} is neither python nor spark-py"),
        );
    }
    let cuda = settings.any("cudaVersion").cloned();
    if let Some(cuda) = cuda {
        let text = cuda
            .as_str()
            .map_or_else(|| cuda.to_string(), str::to_owned);
        if !["9", "9.0", "9.1", "10", "10.0"].contains(&text.as_str()) {
            settings.tell(
                "cudaVersion",
                format!("{text:?} is none of 9.0, 9.1 and 10.0"),
            );
        }
    }
    for (name, value) in settings.texts("environment.environmentVariables") {
        let path = "environment.environmentVariables";
        if name.is_empty() || name.contains(['=', '\0']) {
            settings.tell(
                path,
                format!("{name:?} is not the name of an environment variable"),
            );
        }
        if value.contains('\0') {
            settings.tell(path, format!("the value of {name} has a NUL character"));
        }
    }
}

/// Why a text is no entry script of the original, if it is none.
fn not_a_script(text: &str) -> Option<String> {
    let path = Path::new(text);
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    if text.contains('\0') || path.extension().is_none_or(|end| end != "py") {
        return Some(format!(
            "{text:?} is no Python script; its name ends in .py"
        ));
    }
    let begins = stem.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if !begins || !stem.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Some(format!(
            "{stem:?} cannot be imported: letters, digits and _, no digit first"
        ));
    }
    None
}
