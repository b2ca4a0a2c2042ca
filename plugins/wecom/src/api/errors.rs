//! The contract's error table, and which HTTP status carries which code.
//!
//! Clients of msg-server look at `code` and treat every HTTP status but 200 as a broken server (reference/wecom-archive.md
//! §8-7). So each answer to something the caller did travels with HTTP 200; only an unknown route (404), a fault of ours
//! (500) and an archive that cannot answer just now (503, with `retry-after`) have a status of their own. What went wrong
//! inside stays inside: the caller gets one sentence of the table, the log gets the rest.

use std::borrow::Cow;
use stele_plugin_api::{Error, ErrorCode};

/// Seconds a caller is told to wait when the daemon does not say how long it needs.
pub const DEFAULT_RETRY_AFTER_S: u64 = 1;

/// A documented failure: its code, its sentence, and the HTTP status it travels with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The code of the contract's table.
    pub code: u16,
    /// What the caller reads.
    pub message: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// Seconds to wait before trying again, when that can help.
    pub retry_after_s: Option<u64>,
}

impl ApiError {
    const fn fixed(code: u16, status: u16, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), status, retry_after_s: None }
    }

    fn detailed(code: u16, message: &str, detail: &str) -> Self {
        Self { code, message: Cow::Owned(format!("{message}：{detail}")), status: 200, retry_after_s: None }
    }

    /// 400: the request cannot be understood, or a parameter is missing. `detail` never repeats what the caller sent.
    pub fn parameter(detail: &str) -> Self {
        Self::detailed(400, "请求参数错误", detail)
    }

    /// 400: a parameter the endpoint needs is missing or empty.
    pub fn missing(name: &str) -> Self {
        Self::parameter(&format!("缺少参数 {name}"))
    }

    /// The signature is missing or wrong; the code is the endpoint's (see `Endpoint::signature_code`).
    pub const fn signature(code: u16) -> Self {
        Self::fixed(code, 200, "签名验证失败")
    }

    /// 403: the signature is right, its key is not meant for this corp.
    pub const fn forbidden() -> Self {
        Self::fixed(403, 200, "权限不足")
    }

    /// 404: no such route.
    pub const fn not_found() -> Self {
        Self::fixed(404, 404, "资源不存在")
    }

    /// 500: a fault of ours.
    pub const fn internal() -> Self {
        Self::fixed(500, 500, "服务器内部错误")
    }

    /// 500 with HTTP 503: the archive cannot answer just now.
    pub const fn unavailable(retry_after_s: u64) -> Self {
        Self {
            code: 500,
            message: Cow::Borrowed("服务暂时不可用，请稍后重试"),
            status: 503,
            retry_after_s: Some(retry_after_s),
        }
    }

    /// 1001: a corp this service does not archive.
    pub const fn corp() -> Self {
        Self::fixed(1001, 200, "企业ID无效")
    }

    /// 1002: no member of staff.
    pub const fn staff() -> Self {
        Self::fixed(1002, 200, "员工ID无效")
    }

    /// 1003: not a type of session.
    pub const fn session_type() -> Self {
        Self::fixed(1003, 200, "会话类型无效")
    }

    /// 1004: not a type of message.
    pub const fn message_type() -> Self {
        Self::fixed(1004, 200, "消息类型无效")
    }

    /// 1005: not a date, or a range that ends before it begins.
    pub fn time(detail: &str) -> Self {
        Self::detailed(1005, "时间格式错误", detail)
    }

    /// 1006: not a page number or page size, or a page too large to be answered.
    pub fn paging(detail: &str) -> Self {
        Self::detailed(1006, "分页参数错误", detail)
    }

    /// What it means to the caller that the daemon gave no page of messages: fewer of them may fit into an answer.
    pub fn of_page(error: &Error) -> Self {
        match error.code {
            ErrorCode::TooLarge => Self::paging("page_size 过大，请减小后重试"),
            _ => Self::from_host(error),
        }
    }

    /// What a failed call to the daemon means to the caller.
    pub fn from_host(error: &Error) -> Self {
        match error.code {
            ErrorCode::Unavailable | ErrorCode::RateLimited | ErrorCode::Deadline | ErrorCode::Cancelled => {
                Self::unavailable(error.retry_after_ms.map_or(DEFAULT_RETRY_AFTER_S, |ms| ms.div_ceil(1000).max(1)))
            }
            _ => Self::internal(),
        }
    }
}
