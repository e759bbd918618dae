//! The rules between a configuration's parts: ids are unique, what is named exists, addresses and
//! hashes have their form, an air-gapped host names no cloud. All mistakes are reported at once.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use lockgate_api::{Label, Locality, Price};
use toml::Spanned;

use super::file::{self, Device, File, GpuLayers, LogRequests, ProviderKind};
use super::plugins::Plugins;
use super::{
    AdapterConfig, Config, DEFAULT_LISTEN, KeyConfig, ModelConfig, ProviderConfig, ServerConfig, TargetConfig,
};
use lockgate_problems::{Problems, nearest};

/// Checks the file's parts against each other and resolves its secrets.
pub(crate) fn check(path: &Path, text: &str, file: File) -> Result<Config, Problems> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut checker = Checker { text, folder: &folder, problems: Problems::none(path), ids: HashSet::new() };
    let Plugins { routers, preprocessors, guards, components } = checker.plugins(&file);
    checker.key_routers(&file.keys, &routers);
    checker.grants(&file);
    let config = Config {
        server: checker.server(&file.server),
        models: file.models.iter().map(|model| checker.model(model)).collect(),
        adapters: file.adapters.iter().map(|adapter| checker.adapter(adapter, &file)).collect(),
        providers: checker.providers(&file),
        targets: checker.targets(&file),
        routers,
        preprocessors,
        guards,
        components,
        keys: checker.keys(&file.keys),
    };
    checker.component_ids(&file);
    if checker.problems.is_empty() { Ok(config) } else { Err(checker.problems) }
}

/// Of what clients write as a model's name.
const ID_BYTES_MAX: usize = 128;

/// Whether a text can be an id or a name.
///
/// # Errors
/// What one is.
pub(crate) fn id_form(text: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(plain) {
        return Err(format!("an id is 1 to {ID_BYTES_MAX} letters, digits, `-`, `_`, `.`, `:` or `/`"));
    }
    Ok(())
}

pub(super) struct Checker<'a> {
    text: &'a str,
    pub(super) folder: &'a Path,
    problems: Problems,
    /// Ids of models, adapters and targets, which share one space: clients name them all.
    ids: HashSet<String>,
}

impl Checker<'_> {
    pub(super) fn problem<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.problems.add(self.text, at.span(), message);
    }

    fn server(&mut self, server: &file::Server) -> ServerConfig {
        let fallback = DEFAULT_LISTEN.parse().expect("the default address is one");
        let listen = match &server.listen {
            None => fallback,
            Some(listen) => listen.get_ref().parse().unwrap_or_else(|_| {
                self.problem(listen, "`listen` needs an IP address and a port, such as 127.0.0.1:8080");
                fallback
            }),
        };
        for host in &server.hosts {
            if !is_host(host.get_ref()) {
                self.problem(
                    host,
                    "`hosts` takes names alone, such as gate.example.com: no scheme, port, path or pattern",
                );
            }
        }
        ServerConfig {
            listen,
            air_gapped: server.air_gapped,
            named: server.named,
            hosts: server.hosts.iter().map(|host| host.get_ref().clone()).collect(),
            log_requests: self.log_requests(server.log_requests.as_ref()),
        }
    }

    fn log_requests(&mut self, asked: Option<&Spanned<LogRequests>>) -> LogRequests {
        let Some(asked) = asked else { return LogRequests::default() };
        let path = match asked.get_ref() {
            LogRequests::On(is_on) => return LogRequests::On(*is_on),
            LogRequests::File(path) => self.folder.join(path),
        };
        if path.is_dir() {
            self.problem(asked, format!("{} is a folder: name a file in it", path.display()));
        } else if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            self.problem(asked, format!("the folder of {} does not exist", path.display()));
        }
        LogRequests::File(path)
    }

    fn client_id(&mut self, id: &Spanned<String>) -> String {
        self.id_form(id);
        let text = id.get_ref().as_str();
        if text == "direct" {
            self.problem(id, "`direct` stands for no policy in answers and cannot be an id");
        } else if text == "auto" || text.starts_with("auto:") {
            self.problem(id, "`auto` and `auto:ROUTER` ask a router and cannot be an id");
        } else if !self.ids.insert(id.get_ref().clone()) {
            self.problem(
                id,
                format!("the id `{}` is taken by another model, adapter or target", id.get_ref()),
            );
        }
        id.get_ref().clone()
    }

    pub(super) fn id_form(&mut self, id: &Spanned<String>) {
        if let Err(form) = id_form(id.get_ref()) {
            self.problem(id, form);
        }
    }

    fn model(&mut self, model: &file::Model) -> ModelConfig {
        let device = match &model.device {
            None => Device::Auto,
            Some(device) => match device.get_ref().as_str() {
                "auto" => Device::Auto,
                "cpu" => Device::Cpu,
                other => cuda(other).unwrap_or_else(|| {
                    self.problem(device, format!("unknown device `{other}`: use auto, cpu or cuda:NUMBER"));
                    Device::Auto
                }),
            },
        };
        let gpu_layers = match model.gpu_layers.as_ref().map(|layers| (layers, layers.get_ref())) {
            None => None,
            Some((_, GpuLayers::Count(count @ 1..))) => Some(*count),
            Some((_, GpuLayers::Word(word))) if word == "auto" => None,
            Some((layers, _)) => {
                self.problem(
                    layers,
                    "`gpu_layers` is \"auto\" or a number from 1 on (for none, device = \"cpu\")",
                );
                None
            }
        };
        if let Some(context) = model.context.as_ref().filter(|context| *context.get_ref() == 0) {
            self.problem(context, "`context` is a number of tokens, at least 1");
        }
        let path = self.folder.join(model.path.get_ref());
        if !path.is_file() {
            self.problem(&model.path, format!("there is no model file {}", path.display()));
        }
        ModelConfig {
            id: self.client_id(&model.id),
            path,
            device,
            gpu_layers,
            context_tokens: model.context.as_ref().map(|context| *context.get_ref()),
            kv: model.kv,
            place: self.place_of(&model.path),
        }
    }

    fn adapter(&mut self, adapter: &file::Adapter, file: &File) -> AdapterConfig {
        self.id_form(&adapter.id);
        let model = adapter.model.get_ref();
        self.model_of(&adapter.model, file);
        let path = self.folder.join(adapter.path.get_ref());
        if !path.exists() {
            self.problem(&adapter.path, format!("there is no adapter {}", path.display()));
        }
        if let Some(scale) = &adapter.scale
            && !(scale.get_ref().is_finite() && *scale.get_ref() != 0.0)
        {
            self.problem(scale, "`scale` is a finite number and not 0, which would turn the adapter off");
        }
        let checked = AdapterConfig {
            id: adapter.id.get_ref().clone(),
            model: model.clone(),
            path,
            scale: adapter.scale.as_ref().map_or(1.0, |scale| *scale.get_ref()),
            place: self.place_of(&adapter.path),
        };
        self.adapter_id(&adapter.id, checked.target_id());
        checked
    }

    /// By this id clients name an adapter, so it must be one, and nobody else's.
    pub(super) fn adapter_id(&mut self, at: &Spanned<String>, id: String) {
        if id.len() > ID_BYTES_MAX {
            self.problem(at, format!("`{id}` is longer than the {ID_BYTES_MAX} bytes of an id"));
        } else if self.ids.contains(&id) {
            self.problem(at, format!("the id `{id}` is taken by another model, adapter or target"));
        } else {
            self.ids.insert(id);
        }
    }

    /// What an adapter is for must be a model of the file.
    pub(super) fn model_of(&mut self, model: &Spanned<String>, file: &File) {
        let known = || file.models.iter().map(|model| model.id.get_ref().as_str());
        if known().any(|id| id == model.get_ref()) {
            return;
        }
        let hint = match nearest(model.get_ref(), known()) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => "; an adapter is for a [[model]] of this file".to_owned(),
        };
        self.problem(model, format!("there is no model `{}`{hint}", model.get_ref()));
    }

    /// `file:line:column`, for messages of those who read what stands there.
    pub(super) fn place_of<T>(&self, at: &Spanned<T>) -> String {
        self.problems.place_of(self.text, at.span())
    }

    fn providers(&mut self, file: &File) -> Vec<ProviderConfig> {
        let mut ids = HashSet::new();
        let mut providers = Vec::new();
        for provider in &file.providers {
            self.id_form(&provider.id);
            if !ids.insert(provider.id.get_ref().as_str()) {
                self.problem(&provider.id, format!("a second provider `{}`", provider.id.get_ref()));
            }
            providers.push(self.provider(provider, file.server.air_gapped));
        }
        providers
    }

    fn provider(&mut self, provider: &file::Provider, air_gapped: bool) -> ProviderConfig {
        let kind = *provider.kind.get_ref();
        let locality = match (&provider.locality, kind) {
            (None, ProviderKind::Bedrock) => Locality::Cloud,
            (None, ProviderKind::OpenaiCompatible) => {
                self.problem(
                    &provider.id,
                    "an openai-compatible server must say where it is: add locality = \"local\", \"lan\" or \"cloud\"",
                );
                Locality::Cloud
            }
            (Some(text), _) => match Locality::from_str(text.get_ref()) {
                Ok(locality) => locality,
                Err(message) => {
                    self.problem(text, message);
                    Locality::Cloud
                }
            },
        };
        if let (ProviderKind::Bedrock, Some(text)) = (kind, &provider.locality)
            && locality != Locality::Cloud
        {
            self.problem(text, "Bedrock is a hosted service: its locality is \"cloud\"");
        }
        match (kind, &provider.endpoint, &provider.region) {
            (ProviderKind::OpenaiCompatible, None, _) => {
                self.problem(
                    &provider.id,
                    "an openai-compatible server needs endpoint = \"http://HOST:PORT/v1\"",
                );
            }
            (ProviderKind::Bedrock, _, None) => {
                self.problem(&provider.id, "Bedrock needs region = \"…\", such as \"eu-central-1\"");
            }
            _ => {}
        }
        if let Some(endpoint) = &provider.endpoint {
            match url::Url::parse(endpoint.get_ref()) {
                Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
                    self.problem(endpoint, "`endpoint` is an http:// or https:// address");
                }
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    self.problem(endpoint, "`endpoint` must not hold credentials: use api_key");
                }
                Ok(_) => {}
                Err(error) => self.problem(endpoint, format!("`endpoint` is no address: {error}")),
            }
        }
        if air_gapped
            && !endpoint_is_loopback(provider.endpoint.as_ref().map(|endpoint| endpoint.get_ref().as_str()))
        {
            self.problem(
                &provider.id,
                "the host is air-gapped (server.air_gapped): only a provider on loopback may be configured",
            );
        }
        let api_key = provider.api_key.as_ref().and_then(|source| {
            source
                .get_ref()
                .read(self.folder)
                .map_err(|message| self.problem(source, format!("`api_key`: {message}")))
                .ok()
        });
        ProviderConfig {
            id: provider.id.get_ref().clone(),
            kind,
            region: provider.region.clone(),
            endpoint: provider.endpoint.as_ref().map(|endpoint| endpoint.get_ref().clone()),
            locality,
            api_key,
            place: self.place_of(&provider.id),
        }
    }

    fn targets(&mut self, file: &File) -> Vec<TargetConfig> {
        let mut targets = Vec::new();
        for target in &file.targets {
            let id = self.client_id(&target.id);
            let provider = target.provider.get_ref();
            let known = || file.providers.iter().map(|provider| provider.id.get_ref().as_str());
            if !known().any(|id| id == provider) {
                let hint = match nearest(provider, known()) {
                    Some(name) => format!("; did you mean `{name}`?"),
                    None => "; add a [[provider]] with that id".to_owned(),
                };
                self.problem(&target.provider, format!("there is no provider `{provider}`{hint}"));
            }
            if target.model.get_ref().is_empty() {
                self.problem(&target.model, "`model` is empty");
            }
            if let Some(context) = target.context.as_ref().filter(|context| *context.get_ref() == 0) {
                self.problem(context, "`context` is a number of tokens, at least 1");
            }
            let price = target.price.as_ref().map(|price| {
                let Price { input, output } =
                    Price { input: price.get_ref().input, output: price.get_ref().output };
                if !(input.is_finite() && output.is_finite() && input >= 0.0 && output >= 0.0) {
                    self.problem(price, "a price is USD per million tokens, not negative");
                }
                Price { input, output }
            });
            targets.push(TargetConfig {
                id,
                provider: provider.clone(),
                model: target.model.get_ref().clone(),
                price,
                context_tokens: target.context.as_ref().map(|context| *context.get_ref()),
                tools: target.tools,
                images: target.images,
                place: self.place_of(&target.id),
            });
        }
        targets
    }

    fn keys(&mut self, keys: &[file::Key]) -> Vec<KeyConfig> {
        let mut names = HashSet::new();
        let mut hashes = HashSet::new();
        let mut checked = Vec::new();
        for key in keys {
            self.id_form(&key.name);
            if !names.insert(key.name.get_ref().as_str()) {
                self.problem(&key.name, format!("a second key `{}`", key.name.get_ref()));
            }
            let digits = key.hash.get_ref().strip_prefix("sha256:").unwrap_or_default();
            if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.problem(
                    &key.hash,
                    "a key's hash is `sha256:` and 64 hexadecimal digits: `lockgate key new` makes one",
                );
            } else if !hashes.insert(digits.to_ascii_lowercase()) {
                // Whichever counted, the labels of the other would be lost.
                self.problem(
                    &key.hash,
                    "another key has this hash: every key is one caller's, with one set of labels",
                );
            }
            if let Some(tenant) = &key.tenant {
                let name = tenant.get_ref();
                if name.is_empty() || name.len() > ID_BYTES_MAX || name.chars().any(char::is_control) {
                    self.problem(
                        tenant,
                        format!("a tenant's name is 1 to {ID_BYTES_MAX} bytes of plain text"),
                    );
                }
            }
            let mut labels = Vec::new();
            for label in &key.labels {
                match Label::from_str(label.get_ref()) {
                    Ok(label) => labels.push(label),
                    Err(error) => self.problem(label, error.to_string()),
                }
            }
            checked.push(KeyConfig {
                name: key.name.get_ref().clone(),
                tenant: key.tenant.as_ref().unwrap_or(&key.name).get_ref().clone(),
                hash: key.hash.get_ref().clone(),
                labels,
                router: key.router.as_ref().map(|router| router.get_ref().clone()),
            });
        }
        checked
    }
}

/// The card of this name; `cuda` alone is the first.
fn cuda(name: &str) -> Option<Device> {
    let number = match name.strip_prefix("cuda")? {
        "" => "0",
        numbered => numbered.strip_prefix(':')?,
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| plain).map(Device::Cuda)
}

/// Whether a `Host` header can carry this, without the port that may stand behind it there.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = !text.is_empty() && !text.ends_with('.') && text.bytes().all(plain);
    is_name || text.parse::<std::net::Ipv6Addr>().is_ok()
}

pub(super) fn endpoint_is_loopback(endpoint: Option<&str>) -> bool {
    let Some(url) = endpoint.and_then(|endpoint| url::Url::parse(endpoint).ok()) else { return false };
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
