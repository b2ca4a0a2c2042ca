//! Tokens as OpenIM gives, keeps and refuses them (reference/openim.md §3.1, §3.3, §3.5).

use super::{
    Held, Version, people,
    wire::{Question, Refused, field},
};
use crate::gateway::{jwt, sign};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The platform of an admin's token.
const ADMIN: i32 = 10;

/// Why a token that was good is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// 1501.
    Expired,
    /// 1506: another login, or a forced logout.
    Kicked,
    /// 1507: the store of tokens was lost, or another program took the place.
    Gone,
}

#[derive(Clone, Debug)]
struct Token {
    user: String,
    platform: i32,
    ended: Option<Ended>,
    /// Requests it still serves after another one took its place.
    grace: Option<u32>,
}

/// The store of tokens.
#[derive(Default)]
pub(super) struct Tokens {
    issued: BTreeMap<String, Token>,
    pub count: usize,
}

/// Whose request it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub user: String,
    pub platform: i32,
    /// Seconds.
    pub expires: i64,
    pub is_admin: bool,
}

impl Caller {
    /// Only admins may.
    pub fn admin(&self, why: &str) -> Result<(), Refused> {
        if self.is_admin { Ok(()) } else { Err(Refused::permission(why)) }
    }

    /// Only admins and the one it is about may.
    pub fn access(&self, user: &str) -> Result<(), Refused> {
        if self.is_admin || self.user == user { Ok(()) } else { Err(Refused::permission("ownerUserID")) }
    }
}

impl Tokens {
    /// Every token that was given until now ends.
    pub fn end(&mut self, ended: Ended) {
        self.issued.values_mut().for_each(|token| token.ended = Some(ended));
    }

    fn kick(&mut self, user: &str, platform: i32) {
        let same = self.issued.values_mut().filter(|token| token.user == user && token.platform == platform);
        same.filter(|token| token.ended.is_none()).for_each(|token| token.ended = Some(Ended::Kicked));
    }
}

/// A new token of this user.
pub(super) fn issue(state: &mut Held, version: Version, user: &str, platform: i32) -> Value {
    let seconds = state.switches.token_seconds;
    // No two tokens are the same, as they would be within a second.
    state.tokens.count += 1;
    let issued = Utc::now().timestamp() - 5 - i64::try_from(state.tokens.count).unwrap_or_default();
    let mut claims =
        json!({ "UserID": user, "PlatformID": platform, "exp": Utc::now().timestamp() + seconds, "iat": issued });
    if version == Version::V380 {
        claims["nbf"] = json!(issued);
    }
    let text = jwt("HS256", &claims, &state.switches.secret);
    let is_admin = state.is_admin(user);
    let grace = state.switches.ousted_requests;
    for token in state.tokens.issued.values_mut().filter(|token| token.user == user && token.platform == platform) {
        match (is_admin, token.grace) {
            (true, None) => token.grace = Some(grace),
            (true, Some(_)) => {}
            (false, _) if token.ended.is_none() => token.ended = Some(Ended::Kicked),
            (false, _) => {}
        }
    }
    let token = Token { user: user.to_owned(), platform, ended: None, grace: None };
    state.tokens.issued.insert(text.clone(), token);
    json!({ "token": text, "expireTimeSeconds": seconds })
}

/// Whose token it is.
pub(super) fn open(state: &mut Held, version: Version, text: &str) -> Result<Caller, Refused> {
    let refused = |code: i64, name: &str| Refused::new(code, name, "");
    let malformed = || refused(1503, "TokenMalformedError");
    let (signed, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
    let part = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let (head, claims) = signed.split_once('.').ok_or_else(malformed)?;
    let (head, claims) = part(head).zip(part(claims)).ok_or_else(malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
    if head["alg"] != "HS256" || signature != sign("HS256", signed, &state.switches.secret) {
        return Err(refused(1505, "signature is invalid"));
    }
    let user = claims["UserID"].as_str().unwrap_or_default().to_owned();
    let platform = i32::try_from(claims["PlatformID"].as_i64().unwrap_or(0)).unwrap_or(0);
    let expires = claims["exp"].as_i64().unwrap_or(i64::MAX);
    let expired = || refused(1501, "TokenExpiredError");
    if expires <= Utc::now().timestamp() {
        return Err(expired());
    }
    if claims["nbf"].as_i64().is_some_and(|from| from > Utc::now().timestamp()) {
        return Err(refused(1504, "TokenNotValidYetError"));
    }
    let is_admin = state.is_admin(&user);
    let known = state.tokens.issued.get_mut(text);
    if known.as_ref().is_some_and(|token| token.ended == Some(Ended::Expired)) {
        return Err(expired());
    }
    // Before HEAD nothing is looked up for an admin.
    if !is_admin || version == Version::Head {
        let token = known.ok_or_else(|| refused(1507, "TokenNotExistError"))?;
        match (token.ended, &mut token.grace) {
            (Some(Ended::Kicked), _) => return Err(refused(1506, "TokenKickedError")),
            (Some(_), _) | (_, Some(0)) => return Err(refused(1507, "TokenNotExistError")),
            (None, Some(left)) => *left -= 1,
            (None, None) => {}
        }
    }
    Ok(Caller { user, platform, expires, is_admin })
}

pub(super) fn admin_token(state: &mut Held, question: &Question<'_>) -> Result<Value, Refused> {
    secret(state, question)?;
    let user: String = field(&question.body, "userID")?;
    if !state.is_admin(&user) {
        let admins = state.switches.admins.join(" ");
        return Err(Refused::args(&format!("userID is error., userID={user}, adminUserID=[{admins}]")));
    }
    Ok(issue(state, question.version, &user, ADMIN))
}

fn secret(state: &Held, question: &Question<'_>) -> Result<(), Refused> {
    let given: String = field(&question.body, "secret")?;
    if given == state.switches.secret { Ok(()) } else { Err(Refused::permission("secret invalid")) }
}

/// Of 3.8.0: anybody's token for the secret.
pub(super) fn any_token(state: &mut Held, question: &Question<'_>) -> Result<Value, Refused> {
    secret(state, question)?;
    let (user, platform): (String, i32) = (field(&question.body, "userID")?, field(&question.body, "platformID")?);
    people::known(state, &user)?;
    Ok(issue(state, question.version, &user, platform))
}

pub(super) fn user_token(state: &mut Held, question: &Question<'_>) -> Result<Value, Refused> {
    question.caller.admin("not an admin")?;
    let (user, platform): (String, i32) = (field(&question.body, "userID")?, field(&question.body, "platformID")?);
    if platform == ADMIN {
        return Err(Refused::permission("platformID invalid. platformID must not be adminPlatformID"));
    }
    if state.is_admin(&user) {
        return Err(Refused::permission("don't get Admin token"));
    }
    if people::known(state, &user)?.level >= 3 {
        return Err(Refused::args("app account can`t get token"));
    }
    Ok(issue(state, question.version, &user, platform))
}

pub(super) fn parse_token(state: &mut Held, question: &Question<'_>) -> Result<Value, Refused> {
    let text: String = field(&question.body, "token")?;
    let caller = open(state, question.version, &text)?;
    Ok(json!({
        "userID": caller.user, "platformID": caller.platform, "expireTimeSeconds": caller.expires,
    }))
}

pub(super) fn force_logout(state: &mut Held, question: &Question<'_>) -> Result<Value, Refused> {
    question.caller.admin("not an admin")?;
    let (user, platform): (String, i32) = (field(&question.body, "userID")?, field(&question.body, "platformID")?);
    state.tokens.kick(&user, platform);
    Ok(Value::Null)
}
