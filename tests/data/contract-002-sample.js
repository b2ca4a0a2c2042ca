fetch("http://localhost:10002/msg/search_msg", {
method: "POST",
headers: {
operationID: "f4f4ddf6-728f-4a8f-bd9e-f87c67e33ca5",
token: "<your-token>",
"Content-Type": "application/json",
},
body: JSON.stringify({
recvID: "group_001",
sessionType: 3,
sendTime: "2026-04-09",
pagination: {
pageNumber: 1,
showNumber: 20
}
}),
})
.then((res) => res.json())
.then((data) => console.log(data));
