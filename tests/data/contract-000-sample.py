import hmac
import hashlib
import requests
from urllib.parse import urlencode

def generate_signature(params, secret):
    """生成签名"""
    # 排序参数
    sorted_params = sorted(params.items())
    
    # 拼接字符串
    query_string = urlencode(sorted_params)
    
    # 生成签名
    signature = hmac.new(
        secret.encode('utf-8'),
        query_string.encode('utf-8'),
        hashlib.sha256
    ).hexdigest()
    
    return signature

def get_chat_messages():
    """查询聊天消息"""
    params = {
        'ext_staff_id': 'staff123',
        'receiver_id': 'customer456',
        'ext_corp_id': 'corp123',
        'page': 1,
        'page_size': 20
    }
    
    secret = 'your_secret_key'
    signature = generate_signature(params, secret)
    params['signature'] = signature
    
    url = 'http://localhost:9002/api/v1/chat-msg/session-msgs'
    response = requests.get(url, params=params)
    result = response.json()
    
    print(result)
