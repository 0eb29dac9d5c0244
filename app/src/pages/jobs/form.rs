//! The form for a new sweep.

use contract::case::Device;
use contract::protocol::Runner;
use leptos::prelude::*;

use crate::backend::Site;
use crate::forms::job::{CUDA, Field, GROUPS, Group, Kind};
use crate::forms::{FieldError, JobForm};

/// The form, filled, with what was wrong beside each field.
#[component]
pub(super) fn NewJob(
    form: JobForm,
    errors: Vec<FieldError>,
    runners: Vec<Runner>,
    site: Site,
) -> impl IntoView {
    if runners.is_empty() {
        return view! {
            <p>"No runner is online, so nothing could execute a sweep. On the machine to measure, start one:"</p>
            <pre tabindex="0">"bench-runner daemon --server http://HOST:PORT --token TOKEN"</pre>
            <p class="muted">
                "The token is the server's --runner-token; without one it is in the file DATABASE.runner-token. "
                <a href="/docs/operating">"More on runners"</a>
                "."
            </p>
        }
        .into_any();
    }
    let shown = Shown { form: &form, errors: &errors, runners: &runners };
    let groups =
        GROUPS.iter().filter(|group| shown.has_use(group)).map(|group| shown.group(group)).collect_view();
    view! {
        <form method="post" action="/jobs" class="new-job">
            {shown.models()} {groups}
            <div class="row">
                <button class="button primary" data-test="submit-job">
                    "Submit"
                </button>
                {(!site.may_write)
                    .then(|| {
                        view! {
                            <small>
                                "Submitting asks for the admin token: "
                                <a href="/login?next=/jobs">"log in"</a>
                                " first."
                            </small>
                        }
                    })}
            </div>
        </form>
    }
    .into_any()
}

/// What the form is drawn from.
struct Shown<'a> {
    form: &'a JobForm,
    errors: &'a [FieldError],
    runners: &'a [Runner],
}

impl Shown<'_> {
    /// What is wrong with a field; none where nothing is.
    fn error(&self, field: &str) -> Option<String> {
        let messages: Vec<&str> =
            self.errors.iter().filter(|e| e.field == field).map(|e| e.message.as_str()).collect();
        (!messages.is_empty()).then(|| messages.join("; "))
    }

    fn said(&self, field: &'static str) -> AnyView {
        self.error(field)
            .map(|message| {
                view! {
                    <span class="error" id=format!("{field}-error") data-test="form-error">
                        {message}
                    </span>
                }
            })
            .into_any()
    }

    /// The ids of what is said of a field, its hint first.
    fn described(&self, field: &Field) -> Option<String> {
        let hint = (!self.hint(field).is_empty()).then(|| format!("{}-hint", field.name));
        let error = self.error(field.name).map(|_| format!("{}-error", field.name));
        let ids: Vec<String> = hint.into_iter().chain(error).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    fn hint(&self, field: &Field) -> String {
        if field.name != "precisions" {
            return field.hint.to_owned();
        }
        let models = self.runners.iter().flat_map(|r| &r.registration.models);
        let mut precisions: Vec<&str> =
            models.flat_map(|model| &model.precisions).map(String::as_str).collect();
        precisions.sort_unstable();
        precisions.dedup();
        format!("Accepted: {}. Not every model has each.", precisions.join(", "))
    }

    /// Settings of CUDA devices have a place where a runner has one, or where they are set and should be seen to be.
    fn has_use(&self, group: &Group) -> bool {
        let has_cuda =
            || self.runners.iter().flat_map(|r| &r.registration.devices).any(|d| *d != Device::Cpu);
        group.id != CUDA || has_cuda() || self.is_set(group)
    }

    fn is_set(&self, group: &Group) -> bool {
        group.fields.iter().any(|field| !self.form.text(field.name).is_empty())
    }

    fn group(&self, group: &'static Group) -> AnyView {
        let fields = group.fields.iter().map(|field| self.field(field)).collect_view();
        if group.title.is_empty() {
            return view! { <div class="fields">{fields}</div> }.into_any();
        }
        let is_wrong = group.fields.iter().any(|field| self.error(field.name).is_some());
        let is_open = is_wrong || self.is_set(group);
        let told = group
            .fields
            .iter()
            .filter(|field| !self.form.text(field.name).is_empty())
            .map(|field| match field.kind {
                Kind::Switch => field.label.to_lowercase(),
                _ => self.form.text(field.name).replace(',', ", "),
            })
            .collect::<Vec<_>>()
            .join(" · ");
        let told = if told.is_empty() { "as usual".to_owned() } else { told };
        view! {
            <details class="fold" class:wrong=is_wrong open=is_open data-test=group.id>
                <summary>
                    <span>{group.title}</span>
                    <small class="num muted">{told}</small>
                </summary>
                <div class="fields">{fields}</div>
            </details>
        }
        .into_any()
    }

    fn field(&self, field: &'static Field) -> AnyView {
        let (name, text) = (field.name, self.form.text(field.name));
        let hint = self.hint(field);
        let hint = (!hint.is_empty()).then(|| {
            view! {
                <span class="hint" id=format!("{name}-hint")>
                    {hint}
                </span>
            }
        });
        let said = self.said(name);
        let described = self.described(field);
        let invalid = self.error(name).is_some().then_some("true");
        let chosen = |options: Vec<(String, String)>| {
            let options = options
                .into_iter()
                .map(|(value, label)| {
                    let selected = value == text;
                    view! { <option value=value selected=selected>{label}</option> }
                })
                .collect_view();
            view! {
                <select id=name name=name aria-invalid=invalid aria-describedby=described.clone()>
                    {options}
                </select>
            }
            .into_any()
        };
        let control = match field.kind {
            Kind::Text => view! {
                <input
                    type="text"
                    id=name
                    name=name
                    value=text.to_owned()
                    autocomplete="off"
                    spellcheck="false"
                    aria-invalid=invalid
                    aria-describedby=described.clone()
                />
            }
            .into_any(),
            Kind::One(list) => {
                chosen(list.iter().map(|(value, label)| ((*value).to_owned(), (*label).to_owned())).collect())
            }
            Kind::Device => {
                let mut devices: Vec<String> = self
                    .runners
                    .iter()
                    .flat_map(|r| &r.registration.devices)
                    .map(ToString::to_string)
                    .collect();
                devices.sort();
                devices.dedup();
                chosen(devices.into_iter().map(|device| (device.clone(), device)).collect())
            }
            Kind::Runner => {
                let any = (String::new(), "any that can".to_owned());
                let named = self.runners.iter().map(|r| (r.id.to_string(), r.registration.name.clone()));
                chosen(std::iter::once(any).chain(named).collect())
            }
            Kind::Words(words) => {
                return self.ticked(field, words(), view! { {hint} {said} }.into_any());
            }
            Kind::Switch => {
                return view! {
                    <div class="field switch">
                        <label>
                            <input
                                type="checkbox"
                                id=name
                                name=name
                                value="on"
                                checked=!text.is_empty()
                                aria-describedby=described
                            />
                            <span>{field.label}</span>
                        </label>
                        {hint}
                        {said}
                    </div>
                }
                .into_any();
            }
        };
        view! {
            <div class="field">
                <label for=name>{field.label}</label>
                {control}
                {hint}
                {said}
            </div>
        }
        .into_any()
    }

    /// Words to tick. What was given and is none of them stays, so that it is seen to be wrong.
    fn ticked(&self, field: &'static Field, words: Vec<&'static str>, told: AnyView) -> AnyView {
        let mut words: Vec<&str> = words;
        let given: Vec<&str> =
            self.form.text(field.name).split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
        words.extend(given.iter().filter(|word| !words.contains(word)).copied().collect::<Vec<_>>());
        let boxes = words
            .into_iter()
            .map(|word| {
                let checked = given.contains(&word);
                view! {
                    <label>
                        <input type="checkbox" name=field.name value=word.to_owned() checked=checked />
                        <span>{word.to_owned()}</span>
                    </label>
                }
            })
            .collect_view();
        view! {
            <fieldset class="field" aria-describedby=self.described(field)>
                <legend>{field.label}</legend>
                <div class="checks inline">{boxes}</div>
                {told}
            </fieldset>
        }
        .into_any()
    }

    fn models(&self) -> AnyView {
        let mut models: Vec<_> = self.runners.iter().flat_map(|r| &r.registration.models).collect();
        models.sort_by(|a, b| a.parameters.cmp(&b.parameters).then_with(|| a.name.cmp(&b.name)));
        models.dedup_by(|a, b| a.name == b.name);
        let boxes = models
            .into_iter()
            .map(|model| {
                let checked = self.form.models.contains(&model.name);
                let millions = crate::format::count(model.parameters / 1_000_000);
                view! {
                    <label>
                        <input type="checkbox" name="models" value=model.name.clone() checked=checked />
                        <span>{model.name.clone()}</span>
                        <small class="num">{format!("{millions} M · {}", model.weights.as_str())}</small>
                    </label>
                }
            })
            .collect_view();
        view! {
            <fieldset class="field">
                <legend>"Models"</legend>
                <div class="checks">{boxes}</div>
                {self.said("models")}
            </fieldset>
        }
        .into_any()
    }
}
