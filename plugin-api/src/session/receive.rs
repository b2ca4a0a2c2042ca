//! What a frame of the peer does: one function per kind, so that every rule a peer can break is read in one place.

use super::{Event, Incoming, Role, Session, State, Timer};
use crate::codec::Encoding;
use crate::error::{Error, ErrorCode};
use crate::frame::{FLAG_STREAM, Frame, Head, Kind};
use crate::hello::{Credit, Hello, Limits};
use crate::typed::Parts;
use bytes::Bytes;
use std::time::Instant;

impl Session {
    /// Takes a frame of the peer. Says whether it was awaited: an answer to a call in flight, a call within the bounds, or what a
    /// session begins and ends with. Of all else a peer may send what it likes, so whoever reads it may take its time with it.
    pub fn receive(&mut self, frame: Frame, now: Instant) -> bool {
        let first = self.events.len();
        self.take(frame, now);
        self.was_awaited(first)
    }

    /// A frame of the peer was larger than this side bears, and was not kept. Says whether it was awaited, as
    /// [`Session::receive`] does.
    pub fn receive_oversized(&mut self, head: Head) -> bool {
        let first = self.events.len();
        self.pass_over(head);
        self.was_awaited(first)
    }

    /// What is awaited makes an event at once; the events that a frame made begin at `first`.
    fn was_awaited(&self, first: usize) -> bool {
        let unasked =
            |event: &Event| matches!(event, Event::Notify { .. } | Event::Dropped { .. } | Event::Credit { .. });
        self.events.get(first).is_some_and(|event| !unasked(event))
    }

    fn take(&mut self, frame: Frame, now: Instant) {
        if self.state == State::Closed {
            // A notify belongs to no call: it is for nobody any more, and no offence.
            self.counters.late += u64::from(frame.kind != Kind::Notify);
            return;
        }
        if frame.size() > u64::from(self.hello.limits.max_frame) {
            self.pass_over(frame.head());
            return;
        }
        match frame.kind {
            Kind::Hello => self.on_hello(&frame),
            Kind::Call => self.on_call(frame),
            Kind::Item => self.on_item(frame, now),
            Kind::Reply => match self.take_outgoing(frame.id) {
                Some(_) => self.events.push_back(Event::Replied {
                    id: frame.id,
                    encoding: Encoding::of(frame.flags),
                    parts: frame.into_parts(),
                }),
                None => self.counters.late += 1,
            },
            Kind::Error => self.on_error(&frame),
            Kind::Cancel => match self.take_incoming(frame.id) {
                Some(_) => self.events.push_back(Event::Dropped { id: frame.id }),
                None => self.counters.late += 1,
            },
            Kind::Credit => self.on_credit(&frame),
            Kind::Notify => self.events.push_back(Event::Notify {
                encoding: Encoding::of(frame.flags),
                op: frame.op,
                parts: Parts { payload: frame.payload, body: Bytes::new() },
            }),
            Kind::Goodbye => {
                if self.heard_goodbye || self.state != State::Open {
                    self.counters.violations += 1;
                } else {
                    self.heard_goodbye = true;
                    self.events.push_back(Event::Goodbye);
                }
            }
            Kind::Unknown(_) => self.counters.unknown_kinds += 1,
        }
        self.settle();
    }

    fn pass_over(&mut self, head: Head) {
        self.counters.oversized += 1;
        let limit = self.hello.limits.max_frame;
        let error =
            Error::new(ErrorCode::TooLarge, format!("a frame of {} bytes, at most {limit} are taken", head.size));
        match head.kind {
            Kind::Call if !self.incoming.contains_key(&head.id) && self.state != State::Closed => {
                self.send_error(head.id, Encoding::of(head.flags), &error);
            }
            Kind::Reply | Kind::Error | Kind::Item if self.take_outgoing(head.id).is_some() => {
                if head.kind == Kind::Item {
                    self.frames.push_back(Frame::bare(Kind::Cancel, head.id));
                }
                self.events.push_back(Event::Failed { id: head.id, error });
            }
            _ => {}
        }
        self.settle();
    }

    fn on_hello(&mut self, frame: &Frame) {
        let expected = match self.role {
            Role::Host => State::Greeting,
            Role::Plugin => State::Silent,
        };
        if self.state != expected {
            self.counters.violations += 1;
            return;
        }
        let encoding = Encoding::of(frame.flags);
        let hello = match encoding.decode::<Hello>(&frame.payload) {
            Ok(hello) => hello,
            Err(error) => {
                let error = Error::new(ErrorCode::Invalid, format!("unusable hello: {}", error.message));
                if self.role == Role::Plugin {
                    self.send_error(0, encoding, &error);
                }
                self.close(Some(error));
                return;
            }
        };
        self.remote = hello.limits.sane();
        self.state = match self.role {
            Role::Host => {
                self.encoding = encoding;
                self.timers.retain(|(_, timer)| *timer != Timer::Hello);
                State::Open
            }
            Role::Plugin => State::Greeting,
        };
        self.events.push_back(Event::Hello(Box::new(hello)));
    }

    fn on_call(&mut self, frame: Frame) {
        let id = frame.id;
        let encoding = Encoding::of(frame.flags);
        if id == 0 || self.incoming.contains_key(&id) {
            // Answering would end the call that has this number.
            self.counters.violations += 1;
            return;
        }
        let may_call = match self.role {
            Role::Host => matches!(self.state, State::Greeting | State::Open),
            Role::Plugin => self.state == State::Open,
        };
        if !may_call || self.heard_goodbye {
            self.send_error(id, encoding, &Error::new(ErrorCode::Unavailable, "the session is not open"));
            return;
        }
        let limit = self.hello.limits.max_calls;
        if self.incoming.len() >= limit as usize {
            let error = Error::new(ErrorCode::TooLarge, format!("more than {limit} calls in flight"));
            self.send_error(id, encoding, &error);
            return;
        }
        let stream = frame.flags & FLAG_STREAM != 0;
        let credit = if stream { self.remote.credit } else { 0 };
        self.incoming.insert(id, Incoming { encoding, stream, credit, stalled: None });
        self.events.push_back(Event::Call {
            id,
            op: frame.op,
            encoding,
            parts: Parts { payload: frame.payload, body: frame.body },
        });
    }

    fn on_item(&mut self, frame: Frame, now: Instant) {
        let id = frame.id;
        let Some(call) = self.outgoing.get_mut(&id) else {
            self.counters.late += 1;
            self.frames.push_back(Frame::bare(Kind::Cancel, id));
            return;
        };
        let Some(idle) = call.stream.filter(|_| call.window > 0) else {
            self.counters.violations += 1;
            self.take_outgoing(id);
            self.frames.push_back(Frame::bare(Kind::Cancel, id));
            let error = Error::new(ErrorCode::Internal, "the peer sent more items than it was granted");
            self.events.push_back(Event::Failed { id, error });
            return;
        };
        call.window -= 1;
        self.timers.remove(&(call.deadline, Timer::Call(id)));
        call.deadline = now + idle;
        self.timers.insert((call.deadline, Timer::Call(id)));
        let encoding = Encoding::of(frame.flags);
        self.events.push_back(Event::Item { id, encoding, parts: frame.into_parts() });
    }

    fn on_error(&mut self, frame: &Frame) {
        let error = Encoding::of(frame.flags)
            .decode::<Error>(&frame.payload)
            .unwrap_or_else(|_| Error::new(ErrorCode::Internal, "the peer sent an unreadable error"));
        if frame.id == 0 && self.role == Role::Host && self.state == State::Greeting {
            self.close(Some(error));
        } else if self.take_outgoing(frame.id).is_some() {
            self.events.push_back(Event::Failed { id: frame.id, error });
        } else {
            self.counters.late += 1;
        }
    }

    fn on_credit(&mut self, frame: &Frame) {
        let Some(call) = self.incoming.get_mut(&frame.id) else {
            self.counters.late += 1;
            return;
        };
        let Ok(Credit { items }) = Encoding::of(frame.flags).decode(&frame.payload) else {
            self.counters.violations += 1;
            return;
        };
        if items == 0 {
            // Nothing is granted, so the wait for a grant goes on.
            self.counters.violations += 1;
            return;
        }
        call.credit = call.credit.saturating_add(items).min(Limits::MOST.credit);
        if let Some(at) = call.stalled.take() {
            self.timers.remove(&(at, Timer::Stall(frame.id)));
        }
        self.events.push_back(Event::Credit { id: frame.id });
    }
}
